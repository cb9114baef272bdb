//! Configuration through its boundary: texts in; values with origins, or complaints, out.

use insta::assert_snapshot;

use super::{Config, EXAMPLE, Explained, Override};

/// Loads a file's text with an environment and flags; returns what `config show` or `config check` would print.
fn loaded(yaml: &str, env: &[(&str, &str)], flags: Vec<Override>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("throughline.yaml");
    std::fs::write(&path, yaml).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let text = match Config::load(Some(&path), env, flags) {
        Ok(config) => {
            let written = config.explain().iter().filter(|explained| explained.origin != super::Origin::Default);
            let lines: Vec<String> = written
                .map(|explained| format!("{} = {} [{}]", explained.key, explained.value, explained.origin))
                .collect();
            lines.join("\n")
        }
        Err(complaints) => complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    text.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn the_commented_example_is_complete_and_says_the_defaults() {
    let config = Config::load(None, [], Vec::new()).unwrap();
    let explained = config.explain();
    for key in super::written::Written::defaults(EXAMPLE).0.keys() {
        assert!(
            explained.iter().any(|explained| explained.key == *key),
            "{key} is in the example, and nobody reads it"
        );
    }
    assert_eq!(config.receivers.grpc.to_string(), "127.0.0.1:4317");
    assert_eq!(config.limits.request_bytes, 64 << 20);
    assert_eq!(config.limits.query_time.as_secs(), 30);
    assert!(config.web.public_url.is_none() && config.webhooks.targets.is_empty());
    // Loaded as a user's file it says the same, and every value is then the file's.
    let written = loaded(EXAMPLE, &[], Vec::new());
    assert_eq!(written.lines().count(), explained.len(), "{written}");
    for Explained { key, value, .. } in explained {
        assert!(written.contains(&format!("{key} = {value} [throughline.yaml:")), "{key} is not in {written}");
    }
}

#[test]
fn join_keys_are_few_short_and_named_once() {
    let written = |keys: &str| loaded(&format!("stitching: {{join_keys: {keys}}}"), &[], Vec::new());
    assert_snapshot!(
        written("[order.id, payment.id]"),
        @r#"stitching.join_keys = ["order.id","payment.id"] [throughline.yaml]"#
    );
    assert_snapshot!(
        written("order"),
        @"stitching.join_keys: expected a list; in the environment, a JSON list [throughline.yaml]; the default is []"
    );
    assert_snapshot!(
        written("['']"),
        @r#"stitching.join_keys: "" is not an attribute's key of 1 to 255 bytes [throughline.yaml]; the default is []"#
    );
    let many = serde_json::to_string(&(0..101).map(|n| format!("k{n}")).collect::<Vec<_>>()).unwrap();
    assert_snapshot!(
        written(&many),
        @"stitching.join_keys: there are 101 keys, more than 100 [throughline.yaml]; the default is []"
    );
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let yaml = "
data_dir: from-file
web:
  endpoint: localhost:9000
  public_url: https://${env:HOST:-obs.example}/$${env}/
limits: {memory: 2GiB, request_bytes: '${env:REQUEST}'}
";
    let env = [
        ("THROUGHLINE_DATA_DIR", "from-env"),
        ("THROUGHLINE_WEB__ENDPOINT", "127.0.0.1:9001"),
        ("THROUGHLINE_CONFIG", "throughline.yaml"),
        ("REQUEST", "1MiB"),
        ("PATH", "/bin"),
    ];
    let flags = vec![Override { key: "data_dir", value: "from-flag".to_owned(), flag: "--data-dir" }];
    assert_snapshot!(loaded(yaml, &env, flags), @r"
    data_dir = from-flag [--data-dir]
    web.endpoint = 127.0.0.1:9001 [THROUGHLINE_WEB__ENDPOINT]
    web.public_url = https://obs.example/${env}/ [throughline.yaml:5]
    limits.memory = 2GiB [throughline.yaml]
    limits.request_bytes = 1MiB [throughline.yaml]
    ");
}

#[test]
fn targets_come_from_file_or_environment_and_hide_their_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n").unwrap();
    let yaml = format!(
        "
webhooks:
  egress: {{allow: [10.0.0.0/8, 'localhost:9000']}}
  targets:
    - name: on-call
      url: https://hooks.example.com/a?token=hidden
      secret: ${{env:SECRET}}
    - {{name: log, url: 'http://10.1.2.3/', secret_file: {}, events: [incident.opened]}}
",
        secret_file.display()
    );
    let env = [("SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")];
    assert_snapshot!(loaded(&yaml, &env, Vec::new()), @r#"
    webhooks.targets[0].name = on-call [throughline.yaml:4]
    webhooks.targets[0].url = https://hooks.example.com/a?… [throughline.yaml:4]
    webhooks.targets[0].secret = set [throughline.yaml:4]
    webhooks.targets[0].events = all [throughline.yaml:4]
    webhooks.targets[1].name = log [throughline.yaml:4]
    webhooks.targets[1].url = http://10.1.2.3/ [throughline.yaml:4]
    webhooks.targets[1].secret = set [throughline.yaml:4]
    webhooks.targets[1].events = incident.opened [throughline.yaml:4]
    webhooks.egress.allow = ["10.0.0.0/8","localhost:9000"] [throughline.yaml]
    "#);
    let env = [("THROUGHLINE_WEBHOOKS__TARGETS", r#"[{"name":"a","url":"https://a.example/"}]"#)];
    assert_snapshot!(loaded("", &env, Vec::new()), @r"
    webhooks.targets[0].name = a [THROUGHLINE_WEBHOOKS__TARGETS]
    webhooks.targets[0].url = https://a.example/ [THROUGHLINE_WEBHOOKS__TARGETS]
    webhooks.targets[0].secret = not set [THROUGHLINE_WEBHOOKS__TARGETS]
    webhooks.targets[0].events = all [THROUGHLINE_WEBHOOKS__TARGETS]
    ");
}

#[test]
fn all_complaints_come_at_once_each_with_key_origin_and_remedy() {
    let yaml = "
datadir: /data
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317
      http: 4318
web:
  endpoint: 127.0.0.1:http
  public_url: obs.example
limits:
  request_bytes: 64MB!
  attribute_bytes: 2GiB
  query_time: ${env:NOT_SET}
detection: {false_alarms_per_week: 0}
entirely: {unknown: 1}
";
    let env = [("THROUGHLINE_LIMIT__MEMORY", "1GiB"), ("THROUGHLINE_LOG__FORMAT", "xml")];
    assert_snapshot!(loaded(yaml, &env, Vec::new()), @r#"
    limits.query_time: the environment variable NOT_SET is not set [throughline.yaml:15]; set the variable, or give a default as in ${env:NAME:-default}; a plain $ is written $$
    web.endpoint: "127.0.0.1:http" is not an address and port, such as 127.0.0.1:4317 or [::1]:4317 [throughline.yaml:10]; the default is 127.0.0.1:8317
    web.public_url: "obs.example" is not an address that begins with http:// or https:// and names a host [throughline.yaml:11]; the default is empty
    limits.request_bytes: "64MB!" is not a size; write a number and a unit, such as 64MiB [throughline.yaml:13]; the default is 64MiB
    detection.false_alarms_per_week: "0" is not a number above zero [throughline.yaml]; the default is 1
    log.format: "xml" is neither text nor json [THROUGHLINE_LOG__FORMAT]; the default is text
    datadir: there is no such key [throughline.yaml:2]; did you mean data_dir?
    entirely.unknown: there is no such key [throughline.yaml]; remove it; the commented example lists every key
    limit.memory: there is no such key [THROUGHLINE_LIMIT__MEMORY]; did you mean limits.memory?
    receivers.otlp.protocols.http: this is a section, not a value [throughline.yaml:8]; set one of receivers.otlp.protocols.http.endpoint
    receivers.otlp.protocols.grpc.endpoint: 0.0.0.0:4317 can be reached from other machines, and there is no authentication yet [throughline.yaml:7]; bind 127.0.0.1, or say listen.allow_unauthenticated_remote: true if the network is trusted
    limits.attribute_bytes: 2147483648 bytes are more than limits.request_bytes [throughline.yaml:14]; lower it
    "#);
}

#[test]
fn acknowledging_is_said_word_for_word() {
    let sync = |text: &str| {
        let env = [("THROUGHLINE_DURABILITY__SYNC".into(), text.into())];
        let told = |complaints: Vec<super::Complaint>| complaints[0].to_string();
        Config::load(None, env, Vec::new()).map(|config| config.sync).map_err(told)
    };
    assert_eq!(sync("always"), Ok(super::Sync::Always));
    assert_eq!(sync("interval=200ms"), Ok(super::Sync::Interval(std::time::Duration::from_millis(200))));
    for wrong in ["never", "interval", "interval=", "interval=1h", "interval=0s"] {
        assert!(sync(wrong).unwrap_err().contains("neither always nor interval="), "{wrong}");
    }
    let yaml = "durability: {sync: interval=1s}";
    assert_snapshot!(loaded(yaml, &[], Vec::new()), @"durability.sync = interval=1s [throughline.yaml]");
}

#[test]
fn what_does_not_fit_into_memory_is_refused_with_what_would() {
    assert_snapshot!(loaded("limits: {memory: 100MiB}", &[], Vec::new()), @"limits.memory: 104857600 bytes are too little for the daemon [throughline.yaml]; give it at least 128 MiB");
    let yaml = "limits: {memory: 128MiB, nesting: 91}";
    assert_snapshot!(loaded(yaml, &[], Vec::new()), @r"
    limits.request_bytes: 67108864 bytes are more than limits.memory (134217728 bytes) has room for [default]; lower it to 17 MiB, or raise limits.memory
    limits.nesting: 91 is more than 90, which decoding can bear [throughline.yaml]; lower it
    ");
    assert_snapshot!(loaded("limits: {memory: 128MiB, request_bytes: 17MiB}", &[], Vec::new()), @r"
    limits.memory = 128MiB [throughline.yaml]
    limits.request_bytes = 17MiB [throughline.yaml]
    ");
}

#[test]
fn retention_may_be_without_bounds_and_evidence_is_never_kept_for_less() {
    let yaml = "retention: {time: none, bytes: none, evidence: {time: none, bytes: 1GiB}}";
    let config = Config::load(None, [("THROUGHLINE_RETENTION__TIME".into(), "none".into())], Vec::new());
    assert!(
        config.unwrap_err()[0].to_string().starts_with("retention.evidence.time: evidence would be deleted before")
    );
    assert_snapshot!(loaded(yaml, &[], Vec::new()), @r"
    retention.time = none [throughline.yaml]
    retention.bytes = none [throughline.yaml]
    retention.evidence.time = none [throughline.yaml]
    retention.evidence.bytes = 1GiB [throughline.yaml]
    ");
    assert_snapshot!(loaded("retention: {time: 1d, evidence: {time: 1h, bytes: much}}", &[], Vec::new()), @r#"
    retention.evidence.bytes: "much" is not a size; write a number and a unit, such as 64MiB, or none [throughline.yaml]; the default is 2GiB
    retention.evidence.time: evidence would be deleted before what is not evidence [throughline.yaml]; make it at least retention.time
    "#);
}

#[test]
fn complaints_about_targets_name_the_target_and_never_the_secret() {
    let yaml = "
webhooks:
  egress: {allow: ['10.0.0.0/33']}
  targets:
    - {name: a, url: 'http://2852039166/latest', secret: hunter2}
    - {name: a, url: 'http://[::ffff:192.168.0.1]:8080/'}
    - {name: b c, url: 'https://x.example', secret_file: /nowhere, uri: x}
    - {url: 'ftp://x.example', events: [incident.closed]}
    - https://x.example
";
    let told = loaded(yaml, &[], Vec::new());
    assert!(!told.contains("hunter2"), "{told}");
    assert_snapshot!(told, @r#"
    webhooks.targets[0].secret: a secret is `whsec_` followed by base64 [throughline.yaml:4]; make one: whsec_ and the output of `openssl rand -base64 32`, in one of the two keys
    webhooks.targets[2].uri: there is no such key [throughline.yaml:4]; did you mean url?
    webhooks.targets[2].secret_file: /nowhere: No such file or directory (os error 2) [throughline.yaml:4]; make one: whsec_ and the output of `openssl rand -base64 32`, in one of the two keys
    webhooks.targets[2]: a name has 1 to 64 letters, digits, dots, hyphens or underscores [throughline.yaml:4]; mend the target
    webhooks.targets[3].name: it is missing [throughline.yaml:4]; every target has a name and a url
    webhooks.targets[4]: expected a mapping [throughline.yaml:4]; write {name, url, secret}
    webhooks.egress.allow: "10.0.0.0/33" is not a network (10.0.0.0/8), a host, or host:port [throughline.yaml]; mend or remove it
    webhooks.targets[0].url: 169.254.169.254 is a cloud's metadata service, and never called [throughline.yaml:4]; name an address that may be called
    webhooks.targets[1].url: [::ffff:c0a8:1] is a private address; to allow it, add "[::ffff:c0a8:1]:8080" to webhooks.egress.allow [throughline.yaml:4]; name an address that may be called
    webhooks.targets[1].name: the name "a" is taken by an earlier target [throughline.yaml:4]; give each its own name
    "#);
}

#[test]
fn a_file_that_is_no_configuration_is_one_complaint() {
    assert_snapshot!(loaded("web: {endpoint: 1", &[], Vec::new()), @"did not find expected ',' or '}' at line 2 column 1, while parsing a flow mapping at line 1 column 6 [throughline.yaml]; mend the YAML at that place");
    assert_snapshot!(loaded("data_dir: a\ndata_dir: b", &[], Vec::new()), @r#"duplicate entry with key "data_dir" [throughline.yaml]; mend the YAML at that place"#);
    assert_snapshot!(loaded("- a list", &[], Vec::new()), @"the file is not a mapping [throughline.yaml]; write `key: value` lines");
    assert_snapshot!(loaded("webhooks: null\nweb:", &[], Vec::new()), @"");
    let missing = Config::load(Some(std::path::Path::new("nowhere.yaml")), [], Vec::new()).unwrap_err();
    assert_snapshot!(missing[0].to_string(), @"No such file or directory (os error 2) [nowhere.yaml]; name a readable YAML file");
}

#[test]
fn the_same_port_twice_is_a_complaint_but_any_free_port_is_not() {
    let env = [("THROUGHLINE_WEB__ENDPOINT", "127.0.0.1:4317")];
    assert_snapshot!(loaded("", &env, Vec::new()), @"web.endpoint: 127.0.0.1:4317 is taken by receivers.otlp.protocols.grpc.endpoint [THROUGHLINE_WEB__ENDPOINT]; give each its own port");
    let any = "127.0.0.1:0";
    let env = [("THROUGHLINE_WEB__ENDPOINT", any), ("THROUGHLINE_RECEIVERS__OTLP__PROTOCOLS__GRPC__ENDPOINT", any)];
    assert!(loaded("", &env, Vec::new()).starts_with("receivers.otlp.protocols.grpc.endpoint = 127.0.0.1:0"));
}

#[test]
fn listening_elsewhere_needs_an_explicit_word() {
    let yaml = "web: {endpoint: '0.0.0.0:8317'}";
    assert!(loaded(yaml, &[], Vec::new()).contains("listen.allow_unauthenticated_remote: true"));
    let env = [("THROUGHLINE_LISTEN__ALLOW_UNAUTHENTICATED_REMOTE", "true")];
    assert_snapshot!(loaded(yaml, &env, Vec::new()), @r"
    web.endpoint = 0.0.0.0:8317 [throughline.yaml]
    listen.allow_unauthenticated_remote = true [THROUGHLINE_LISTEN__ALLOW_UNAUTHENTICATED_REMOTE]
    ");
}

#[test]
fn allowed_hosts_are_names_alone() {
    let yaml = "web: {allowed_hosts: [Obs.Example.com, throughline]}";
    assert_snapshot!(loaded(yaml, &[], Vec::new()), @r#"web.allowed_hosts = ["Obs.Example.com","throughline"] [throughline.yaml]"#);
    let env = [("THROUGHLINE_WEB__ALLOWED_HOSTS", r#"["Obs.Example"]"#)];
    let env = env.map(|(name, value)| (name.into(), value.into()));
    assert_eq!(Config::load(None, env, Vec::new()).unwrap().web.allowed_hosts, ["obs.example"]);
    let mut told = Vec::new();
    for wrong in ["[https://obs.example]", "[obs.example:8317]", "[obs.example/a]", "['']", "obs.example"] {
        told.push(loaded(&format!("web: {{allowed_hosts: {wrong}}}"), &[], Vec::new()));
    }
    assert_snapshot!(told.join("\n"), @r#"
    web.allowed_hosts: "https://obs.example" is not a host name alone, such as obs.example.com: no scheme, port or slash [throughline.yaml]; the default is []
    web.allowed_hosts: "obs.example:8317" is not a host name alone, such as obs.example.com: no scheme, port or slash [throughline.yaml]; the default is []
    web.allowed_hosts: "obs.example/a" is not a host name alone, such as obs.example.com: no scheme, port or slash [throughline.yaml]; the default is []
    web.allowed_hosts: "" is not a host name alone, such as obs.example.com: no scheme, port or slash [throughline.yaml]; the default is []
    web.allowed_hosts: expected a list; in the environment, a JSON list [throughline.yaml]; the default is []
    "#);
}

#[test]
fn what_kubernetes_tells_about_services_is_not_meant_for_us() {
    let env = [
        ("THROUGHLINE_PORT", "tcp://10.0.0.1:4317"),
        ("THROUGHLINE_PORT_4317_TCP", "tcp://10.0.0.1:4317"),
        ("THROUGHLINE_PORT_4317_TCP_ADDR", "10.0.0.1"),
        ("THROUGHLINE_PORT_4317_TCP_PORT", "4317"),
        ("THROUGHLINE_PORT_4317_TCP_PROTO", "tcp"),
        ("THROUGHLINE_SERVICE_HOST", "10.0.0.1"),
        ("THROUGHLINE_SERVICE_PORT", "4317"),
        ("THROUGHLINE_SERVICE_PORT_OTLP_GRPC", "4317"),
        ("THROUGHLINE_WEB_SERVICE_HOST", "10.0.0.2"),
    ];
    assert_snapshot!(loaded("", &env, Vec::new()), @"");
    let mistakes = [("THROUGHLINE_PORT", "9000"), ("THROUGHLINE_WEB__PORT", "9000")];
    assert_snapshot!(loaded("", &mistakes, Vec::new()), @r"
    port: there is no such key [THROUGHLINE_PORT]; remove it; the commented example lists every key
    web.port: there is no such key [THROUGHLINE_WEB__PORT]; remove it; the commented example lists every key
    ");
}

#[cfg(unix)]
#[test]
fn variables_that_are_no_text_are_a_complaint_only_if_they_are_ours() {
    use std::os::unix::ffi::OsStrExt as _;
    let os = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    let foreign =
        [(os(b"GREETING"), os(b"gr\xfc\xdfe")), (os(b"N\xe4me"), os(b"a")), (os(b"THROUGHLINE_CONFIG"), os(b"\xe4"))];
    assert!(Config::load(None, foreign, Vec::new()).is_ok());
    let ours = [(os(b"THROUGHLINE_DATA_DIR"), os(b"/gr\xfc\xdfe")), (os(b"THROUGHLINE_\xe4"), os(b"a"))];
    let told: Vec<String> = Config::load(None, ours, Vec::new()).unwrap_err().iter().map(ToString::to_string).collect();
    assert_snapshot!(told.join("\n"), @r"
    it is not UTF-8 [THROUGHLINE_DATA_DIR]; set it anew, or unset it
    it is not UTF-8 [THROUGHLINE_�]; set it anew, or unset it
    ");
}

#[test]
fn declared_sagas_are_shown_and_all_that_is_wrong_with_them_is_said_at_once() {
    let written = "
stitching:
  sagas:
    - name: order
      type: shop POST /order
      stages:
        - {operation: stock POST /reserve, compensation: stock POST /release}
        - {operation: ship *}
";
    assert_snapshot!(loaded(written, &[], Vec::new()), @r#"
    stitching.sagas[0] = {"name":"order","type":"shop POST /order","stages":[{"operation":"stock POST /reserve","compensation":"stock POST /release"},{"operation":"ship *"}]} [throughline.yaml:3]
    "#);
    let wrong = "
stitching:
  sagas:
    - {name: order, stages: [{operation: a b}]}
    - {name: order, stages: [{operation: a b}]}
    - {nam: x, stages: []}
    - {name: late, stages: [{compensation: a b}, 3]}
    - never
";
    assert_snapshot!(loaded(wrong, &[], Vec::new()), @r#"
    stitching.sagas[1].name: the name "order" is taken by an earlier saga [throughline.yaml:3]; give each its own name
    stitching.sagas[2].nam: there is no such key [throughline.yaml:3]; did you mean name?
    stitching.sagas[2].name: it is missing [throughline.yaml:3]; say a service and an operation, or a name
    stitching.sagas[2].stages: there are 0 stages, and 1 to 32 are possible [throughline.yaml:3]; name the operations that change something, in their order
    stitching.sagas[3].stages[0].operation: it is missing [throughline.yaml:3]; say a service and an operation, or a name
    stitching.sagas[3].stages[1]: expected a mapping [throughline.yaml:3]; write {operation, compensation}
    stitching.sagas[4]: expected a mapping [throughline.yaml:3]; write {name, type, stages}
    "#);
}
