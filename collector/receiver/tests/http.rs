//! OTLP/HTTP over real sockets: what a sender gets, what is kept, what is counted.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use collector_otlp::{Encoding, Limits, Signal, decode};
use collector_receiver::{Compression, Config, Protocol, Refused};
use prost::Message;
use support::{
    JSON, Memory, NOW, PROTOBUF, config, exchange, gzip, logs, metrics, post, read_answer, seconds, start, traces, zstd,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// `google.rpc.Status`, written anew here to read answers with.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[tokio::test]
async fn every_signal_in_every_encoding_and_compression_is_kept_as_it_was_sent() {
    let running = start(config(), Memory::default()).await;
    let bodies = [
        ("/v1/traces", traces(2, false).encode_to_vec(), serde_json::to_vec(&traces(2, false)).unwrap()),
        ("/v1/logs", logs().encode_to_vec(), serde_json::to_vec(&logs()).unwrap()),
        ("/v1/metrics", metrics().encode_to_vec(), serde_json::to_vec(&metrics()).unwrap()),
    ];
    for (path, protobuf, json) in &bodies {
        for (content_type, body, answer_body) in [(PROTOBUF, protobuf, &b""[..]), (JSON, json, b"{}")] {
            for (encoding, sent) in [("identity", body.clone()), ("gzip", gzip(body)), ("ZSTD", zstd(body))] {
                let headers = [content_type, &format!("content-encoding: {encoding}")];
                let answer = post(running.http, path, &headers, &sent).await;
                assert_eq!((answer.status, answer.body.as_slice()), (200, answer_body), "{path} {headers:?}");
                let sent_type = content_type.split([' ', ';']).nth(1).unwrap();
                assert_eq!(answer.header("content-type").unwrap(), sent_type);
                let received = running.memory.received.lock().unwrap().pop().unwrap();
                assert_eq!(&received.payload[..], body.as_slice());
                assert_eq!(decode(received.kind, &received.payload, &Limits::default()).unwrap(), received.batch);
                assert_eq!(received.batch.items_by_service()[0].0, "shop");
                assert_eq!((received.sender.protocol, received.sender.user_agent.as_str()), (Protocol::Http, "test"));
            }
        }
    }
    let snapshot = running.ledger.snapshot();
    assert_eq!(snapshot.streams.len(), 18);
    let row = snapshot
        .streams
        .iter()
        .find(|row| (row.signal, row.encoding, row.compression) == (Signal::Traces, Encoding::Json, Compression::Gzip));
    let counts = row.unwrap().counts;
    assert_eq!((counts.requests, counts.items, counts.bytes), (1, 2, bodies[0].2.len() as u64));
    assert_eq!(counts.wire_bytes, gzip(&bodies[0].2).len() as u64);
    let sender = &snapshot.senders[0];
    assert_eq!((sender.service.as_str(), sender.user_agent.as_str(), sender.last_seen), ("shop", "test", NOW));
    assert_eq!((sender.requests, sender.spans, sender.logs, sender.metrics), (18, 12, 6, 6));
    assert_eq!((snapshot.senders.len(), snapshot.in_flight_bytes), (1, 0));
}

#[tokio::test]
async fn a_chunked_body_is_read() {
    let running = start(config(), Memory::default()).await;
    let body = gzip(&traces(1, false).encode_to_vec());
    let mut request = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{PROTOBUF}\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for piece in body.chunks(10) {
        request.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"));
    }
    request.extend(b"0\r\n\r\n");
    assert_eq!(exchange(running.http, &request).await.status, 200);
    assert_eq!(running.kept(), 1);
}

#[tokio::test]
async fn rejected_items_are_a_partial_success() {
    let running = start(config(), Memory::default()).await;
    let json = serde_json::to_vec(&traces(3, true)).unwrap();
    let answer = post(running.http, "/v1/traces", &[JSON], &json).await;
    let expected = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"rejected: 1 invalid_trace_id"}}"#;
    assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    let only_invalid = post(running.http, "/v1/traces", &[PROTOBUF], &traces(1, true).encode_to_vec()).await;
    assert_eq!(only_invalid.status, 200);
    assert!(!only_invalid.body.is_empty());
    // A request without a good item is not kept, but counted.
    assert_eq!(running.kept(), 1);
    assert_eq!(running.ledger.snapshot().rejected[0].2, 2);
}

#[tokio::test]
async fn an_empty_body_is_a_success() {
    let running = start(config(), Memory::default()).await;
    assert_eq!(post(running.http, "/v1/logs", &[PROTOBUF], b"").await.status, 200);
    assert_eq!(post(running.http, "/v1/logs", &[PROTOBUF, "content-encoding: gzip"], b"").await.status, 200);
    assert_eq!(post(running.http, "/v1/logs", &[JSON], b"").await.text(), "{}");
    assert_eq!(running.kept(), 0);
}

#[tokio::test]
async fn what_is_wrong_gets_the_code_of_the_specification_and_the_next_good_request_works() {
    let running = start(config(), Memory::default()).await;
    let good = traces(1, false).encode_to_vec();
    let nested = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"value":{}}}]}}}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(100_000)
    );
    let unknown = "content-encoding: br";
    let cases: [(&str, &[&str], &[u8], u16); 11] = [
        ("/v1/traces", &[PROTOBUF], b"\xff\xff", 400),
        ("/v1/traces", &[PROTOBUF], &good[..good.len() - 1], 400),
        ("/v1/traces", &[JSON], b"{\"resourceSpans\":[", 400),
        ("/v1/traces", &[JSON], b"{\"resourceSpans\":[{\"schemaUrl\":\"\xff\"}]}", 400),
        ("/v1/traces", &[JSON], nested.as_bytes(), 400),
        ("/v1/traces", &[PROTOBUF, "content-encoding: gzip"], &good, 400),
        ("/v1/traces", &[PROTOBUF, "content-encoding: zstd"], &zstd(&good)[..10], 400),
        ("/v1/traces", &[PROTOBUF, unknown], &good, 415),
        ("/v1/traces", &["content-type: text/plain"], &good, 415),
        ("/v1/traces", &[], &good, 415),
        ("/v1/spans", &[PROTOBUF], &good, 404),
    ];
    for (path, headers, body, status) in cases {
        let answer = post(running.http, path, headers, body).await;
        assert_eq!(answer.status, status, "{path} {headers:?} {}", answer.text());
        assert_eq!(answer.header("retry-after"), None);
        match answer.header("content-type").unwrap().as_str() {
            "application/x-protobuf" => assert!(!Status::decode(&answer.body[..]).unwrap().message.is_empty()),
            _ => assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["code"].is_number()),
        }
        assert_eq!(post(running.http, "/v1/traces", &[PROTOBUF], &good).await.status, 200);
    }
    let expected = [
        "http bad_compression 2",
        "http malformed 4",
        "http nested 1",
        "http content_type 2",
        "http content_encoding 1",
        "http path 1",
    ];
    assert_eq!(running.refusals(), expected);
}

#[tokio::test]
async fn other_methods_are_refused_and_the_root_says_what_the_port_is() {
    let running = start(config(), Memory::default()).await;
    let put = b"PUT /v1/traces HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answer = exchange(running.http, put).await;
    assert_eq!((answer.status, answer.header("allow").unwrap().as_str()), (405, "POST"));
    let answer = exchange(running.http, b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("OTLP"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_before_and_after_decompression() {
    let running = start(Config { body_bytes_max: 100_000, ..config() }, Memory::default()).await;
    let large = vec![b'x'; 100_001];
    let bomb = vec![0; 50_000_000];
    let chunked = [
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{PROTOBUF}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
            large.len()
        )
        .as_bytes(),
        &large,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let answers = [
        post(running.http, "/v1/traces", &[PROTOBUF], &large).await,
        post(running.http, "/v1/traces", &[PROTOBUF, "content-encoding: gzip"], &gzip(&bomb)).await,
        post(running.http, "/v1/traces", &[PROTOBUF, "content-encoding: zstd"], &zstd(&bomb)).await,
        exchange(running.http, &chunked).await,
    ];
    for answer in &answers {
        assert_eq!((answer.status, answer.header("retry-after")), (413, None), "{}", answer.headers);
    }
    assert_eq!(running.refusals(), ["http too_large 4"]);
    assert_eq!(running.ledger.snapshot().in_flight_bytes, 0);
    assert_eq!(post(running.http, "/v1/traces", &[PROTOBUF], &traces(1, false).encode_to_vec()).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_kept_now_is_503_with_a_hint_and_is_taken_later() {
    let running = start(config(), Memory::default()).await;
    let body = traces(1, false).encode_to_vec();
    let refusals = [
        (Refused::Busy { retry_after: Duration::from_millis(1500) }, "2"),
        (Refused::NoSpace { retry_after: seconds(30) }, "30"),
        (Refused::Stopping, "5"),
    ];
    for (refused, hint) in refusals {
        *running.memory.refusal.lock().unwrap() = Some(refused);
        let answer = post(running.http, "/v1/traces", &[PROTOBUF], &body).await;
        assert_eq!((answer.status, answer.header("retry-after").unwrap().as_str()), (503, hint));
        assert_eq!(Status::decode(&answer.body[..]).unwrap().code, 14);
    }
    *running.memory.refusal.lock().unwrap() = None;
    assert_eq!(post(running.http, "/v1/traces", &[PROTOBUF], &body).await.status, 200);
    assert_eq!(running.refusals(), ["http busy 1", "http no_space 1", "http stopping 1"]);
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_and_given_back() {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let memory = Memory { gate: Some(gate.clone()), ..Memory::default() };
    let body = traces(1, false).encode_to_vec();
    // Room for one body and what its rows are thought to take, but not for another body.
    let running = start(Config { in_flight_bytes_max: 2 * body.len() + 10, ..config() }, memory).await;
    let (http, sent) = (running.http, body.clone());
    let first = tokio::spawn(async move { post(http, "/v1/traces", &[PROTOBUF], &sent).await });
    running.memory.entered.notified().await;
    assert!(running.ledger.snapshot().in_flight_bytes > body.len() as u64, "rows are counted too");
    let second = post(running.http, "/v1/traces", &[PROTOBUF], &body).await;
    assert_eq!((second.status, second.header("retry-after").unwrap().as_str()), (503, "1"));
    gate.notify_one();
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(running.ledger.snapshot().in_flight_bytes, 0);
    assert_eq!(running.refusals(), ["http in_flight 1"]);
}

#[tokio::test]
async fn a_large_body_is_decoded_beside_the_sockets() {
    let running = start(config(), Memory::default()).await;
    let body = traces(20_000, false).encode_to_vec();
    assert!(body.len() > 256 << 10);
    let answer = post(running.http, "/v1/traces", &[PROTOBUF, "content-encoding: gzip"], &gzip(&body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(running.memory.received.lock().unwrap()[0].batch.accepted, 20_000);
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_serves_again_and_says_for_how_long() {
    let running = start(config(), Memory::default()).await;
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    let request = format!("POST /v1/logs HTTP/1.1\r\nhost: h\r\n{JSON}\r\ncontent-length: 2\r\n\r\n{{}}");
    let last = request.replace("host: h", "host: h\r\nconnection: close");
    stream.write_all(format!("{request}{last}").as_bytes()).await.unwrap();
    let answers = read_answer(&mut stream).await;
    assert_eq!((answers.status, answers.header("keep-alive").unwrap().as_str()), (200, "timeout=9"));
    assert!(answers.text().contains("HTTP/1.1 200 OK"), "{}", answers.text());
}

#[tokio::test]
async fn http_2_works_too() {
    let running = start(config(), Memory::default()).await;
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(running.http).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let body = http_body_util::Full::new(bytes::Bytes::from(traces(1, false).encode_to_vec()));
    let request = http::Request::post("http://here/v1/traces").header("content-type", "application/x-protobuf");
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), running.kept()), (200, 1));
    assert!(response.headers().get("keep-alive").is_none());
}

#[tokio::test]
async fn slow_headers_and_slow_bodies_are_cut_off() {
    let short = Duration::from_millis(50);
    let running =
        start(Config { header_timeout: short, body_idle_timeout: short, ..config() }, Memory::default()).await;
    for beginning in [&b""[..], b"P", b"POST /v1/traces HTTP/1.1\r\nhost: h\r\n"] {
        let mut stream = TcpStream::connect(running.http).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        // Ends only because the server closes.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    }
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    let head =
        format!("POST /v1/traces HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{PROTOBUF}\r\ncontent-length: 9\r\n\r\n1");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The rest comes after the timeout, so that it need not be waited for.
    while running.refusals().is_empty() && running.ledger.snapshot().in_flight_bytes == 0 {
        tokio::task::yield_now().await;
    }
    while running.ledger.snapshot().in_flight_bytes > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(b"23456789").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 503);
    assert_eq!(running.refusals(), ["http timeout 1"]);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let running = start(Config { connections_max: 1, ..config() }, Memory::default()).await;
    let first = TcpStream::connect(running.http).await.unwrap();
    while running.ledger.snapshot().connections == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = TcpStream::connect(running.http).await.unwrap();
    let mut nothing = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut second, &mut nothing).await;
    assert!(nothing.is_empty());
    assert_eq!(running.ledger.snapshot().connections_refused, 1);
    drop(first);
    while running.ledger.snapshot().connections > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(post(running.http, "/v1/traces", &[PROTOBUF], &traces(1, false).encode_to_vec()).await.status, 200);
}

#[tokio::test]
async fn the_shutdown_answers_open_requests_and_takes_no_new_ones() {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let memory = Memory { gate: Some(gate.clone()), ..Memory::default() };
    let running = start(config(), memory.clone()).await;
    let http = running.http;
    let open =
        tokio::spawn(async move { post(http, "/v1/traces", &[PROTOBUF], &traces(1, false).encode_to_vec()).await });
    memory.entered.notified().await;
    let drained = running.stop();
    while TcpStream::connect(http).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!drained.is_finished());
    gate.notify_one();
    assert_eq!(open.await.unwrap().status, 200);
    drained.await.unwrap();
    assert_eq!(memory.received.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let running = start(config(), Memory::default()).await;
    let error = collector_receiver::bind(Config { http: Some(running.http), ..config() }).await.unwrap_err();
    assert_eq!(error.to_string(), format!("binding OTLP/HTTP to {}", running.http));
}
