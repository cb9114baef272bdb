//! Senders that mean harm or are broken: they are cut off within a bound, and others get through meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use collector_receiver::{Config, Refused};
use prost::Message;
use support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, Peer, RST_STREAM, call, field, frame,
};
use support::{Memory, PROTOBUF, Running, config, post, read_answer, seconds, start, traces};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(50);

/// Fails if an honest request does not get through.
async fn canary(running: &Running) {
    let body = traces(1, false).encode_to_vec();
    assert_eq!(post(running.http, "/v1/traces", &[PROTOBUF], &body).await.status, 200);
}

/// Returns once the other side has closed.
async fn closed(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn stalled(address: SocketAddr, beginning: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(beginning).await.unwrap();
    stream
}

fn numbers() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[tokio::test]
async fn a_hundred_slow_senders_hold_up_nobody_else() {
    let running = start(config(), Memory::default()).await;
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: h\r\n{PROTOBUF}\r\n");
    let body = format!("{head}content-length: 100000\r\n\r\n");
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(stalled(running.http, head.as_bytes()).await);
        slow.push(stalled(running.http, body.as_bytes()).await);
    }
    for turn in 0..20 {
        for (index, stream) in slow.iter_mut().enumerate() {
            let piece = if index % 2 == 0 { format!("x-{turn}: y\r\n") } else { "x".to_owned() };
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        canary(&running).await;
    }
    let snapshot = running.ledger.snapshot();
    assert!(snapshot.connections >= 100, "the slow ones are still there: {}", snapshot.connections);
}

#[tokio::test]
async fn headers_and_bodies_that_drip_are_cut_off_although_they_never_pause() {
    let limits = Config { header_timeout: 4 * SHORT, body_timeout: 4 * SHORT, ..config() };
    let running = start(limits, Memory::default()).await;
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{PROTOBUF}\r\n");
    let mut headers = stalled(running.http, head.as_bytes()).await;
    let mut body = stalled(running.http, format!("{head}content-length: 100000\r\n\r\n").as_bytes()).await;
    let mut drips = tokio::time::interval(SHORT / 5);
    let mut has_ended = false;
    while !has_ended || running.refusals().is_empty() {
        drips.tick().await;
        // Writing into a connection that was closed fails at the latest at the second try. The body's may be closed
        // between a look at the refusals and the write, so only its refusal is looked at.
        has_ended |= headers.write_all(b"x: y\r\n").await.is_err();
        let _ = body.write_all(b"x").await;
    }
    assert_eq!(running.refusals(), ["http timeout 1"]);
    drop(body);
    canary(&running).await;
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let running = start(config(), Memory::default()).await;
    let mut peer = Peer::connect(running.grpc).await;
    let mut flood = Vec::new();
    for stream in numbers().take(2_000) {
        flood.extend(frame(HEADERS, END_HEADERS, stream, &call()));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    peer.send(&flood).await;
    assert!(matches!(peer.goaway().await, Some(ENHANCE_YOUR_CALM) | None), "the connection goes on");
    canary(&running).await;
    assert_eq!(running.kept(), 1);
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_one_by_one() {
    let running = start(config(), Memory::default()).await;
    let mut peer = Peer::connect(running.grpc).await;
    for stream in numbers().take(250) {
        peer.send(&frame(HEADERS, END_HEADERS, stream, &call())).await;
    }
    let mut refused = 0;
    peer.send(&frame(PING, 0, 0, &[7; 8])).await;
    while let Some(frame) = peer.next().await {
        refused += usize::from(frame.kind == RST_STREAM);
        if frame.kind == PING {
            break;
        }
    }
    assert!(refused >= 50, "of 250 open calls {refused} were refused");
    canary(&running).await;
}

#[tokio::test]
async fn headers_without_an_end_are_cut_off() {
    let running = start(config(), Memory::default()).await;
    let mut peer = Peer::connect(running.grpc).await;
    let mut flood = frame(HEADERS, END_STREAM, 1, &call());
    for _ in 0..2_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &field("x-filler", &"y".repeat(1_000))));
    }
    peer.send(&flood).await;
    assert!(matches!(peer.goaway().await, Some(1..) | None), "the connection goes on");
    canary(&running).await;
}

#[tokio::test]
async fn a_header_list_over_16_kib_is_refused() {
    let running = start(config(), Memory::default()).await;
    let mut peer = Peer::connect(running.grpc).await;
    let large = [call(), field("x-large", &"y".repeat(20_000))].concat();
    let (first, rest) = large.split_at(10_000);
    peer.send(&frame(HEADERS, END_STREAM, 1, first)).await;
    peer.send(&frame(CONTINUATION, END_HEADERS, 1, rest)).await;
    let answer = loop {
        let frame = peer.next().await.expect("an answer comes before the end");
        if frame.stream == 1 || frame.kind == support::frames::GOAWAY {
            break frame;
        }
    };
    // The field is ":status: 431", its value in Huffman's code (RFC 7541, section 6.2.1 and appendix B).
    let is_431 = answer.payload == [0x48, 0x83, 0x69, 0x90, 0xff];
    assert!(is_431 || answer.kind != HEADERS, "{answer:?}");
    assert_eq!(running.kept(), 0);
    canary(&running).await;
}

#[tokio::test]
async fn an_http_2_connection_that_is_idle_is_told_and_closed() {
    let limits = Config { idle_timeout: SHORT, ..config() };
    let running = start(limits, Memory::default()).await;
    let mut peer = Peer::connect(running.grpc).await;
    peer.send(&frame(HEADERS, END_HEADERS, 1, &call())).await;
    let body = traces(1, false).encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    peer.send(&frame(DATA, END_STREAM, 1, &[&[0][..], &length, &body].concat())).await;
    assert_eq!(peer.goaway().await, Some(0), "a polite end, after the answer");
    assert_eq!((running.kept(), running.ledger.snapshot().connections_idle), (1, 1));
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_hello_is_closed() {
    let limits = Config { first_request_timeout: SHORT, header_timeout: SHORT, ..config() };
    let running = start(limits, Memory::default()).await;
    for beginning in [&b""[..], b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        closed(&mut stalled(running.grpc, beginning).await).await;
        closed(&mut stalled(running.http, beginning).await).await;
    }
    while running.ledger.snapshot().connections > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_body_is_not_even_read_while_nothing_can_be_kept() {
    let running = start(config(), Memory::default()).await;
    *running.memory.unready.lock().unwrap() = Some(Refused::Memory { retry_after: seconds(3) });
    // What cannot be decoded would be refused for another reason, if it were looked at.
    let answer = post(running.http, "/v1/traces", &[PROTOBUF], b"\xff\xff").await;
    assert_eq!((answer.status, answer.header("retry-after").unwrap().as_str()), (503, "3"));
    *running.memory.unready.lock().unwrap() = None;
    canary(&running).await;
    assert_eq!(running.refusals(), ["http memory 1"]);
}

#[tokio::test]
async fn a_length_that_is_only_claimed_takes_no_memory_in_flight() {
    let running = start(config(), Memory::default()).await;
    let mut peer = Peer::connect(running.grpc).await;
    peer.send(&frame(HEADERS, END_HEADERS, 1, &call())).await;
    peer.send(&frame(DATA, 0, 1, &[&[0][..], &60_000_000_u32.to_be_bytes(), &[1; 100]].concat())).await;
    while running.ledger.snapshot().in_flight_bytes == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.ledger.snapshot().in_flight_bytes, 105);
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{PROTOBUF}\r\n");
    let mut http = stalled(running.http, format!("{head}content-length: 68000000\r\n\r\n").as_bytes()).await;
    http.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut http).await.status, 413);
}
