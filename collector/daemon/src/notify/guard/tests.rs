//! The egress guard as a table: what an operator allowed and what a URL leads to in, the verdict out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use insta::assert_snapshot;
use reqwest::Url;

use super::{AllowRule, EgressGuard, Lookup};

/// Names as a test wants them.
struct Names;

impl Lookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let addresses: &[&str] = match host.as_str() {
            "public.example" => &["93.184.215.14", "2606:2800:21f:cb07::1"],
            "mixed.example" => &["93.184.215.14", "10.0.0.5"],
            "internal.example" | "internal.example." => &["10.0.0.5"],
            "mapped.example" => &["::ffff:10.0.0.5"],
            "metadata.example" => &["169.254.169.254"],
            "localhost" => &["127.0.0.1", "::1"],
            "empty.example" => &[],
            _ => return Box::pin(async { Err(io::Error::other("no such name")) }),
        };
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

fn guard(allow: &[&str]) -> EgressGuard {
    let rules: Vec<AllowRule> = allow.iter().map(|rule| rule.parse().unwrap()).collect();
    EgressGuard::with_lookup(rules, Arc::new(Names))
}

/// Returns for each URL, one a line, what the guard says.
async fn verdicts(allow: &[&str], urls: &str) -> String {
    let guard = guard(allow);
    let mut lines = Vec::new();
    for url in urls.split_whitespace() {
        let verdict = match guard.check(&Url::parse(url).unwrap()).await {
            Ok(addresses) => format!("ok {addresses:?}"),
            Err(refusal) => crate::telemetry::error_chain(&refusal),
        };
        lines.push(format!("{url}  {verdict}"));
    }
    lines.join("\n")
}

#[tokio::test]
async fn without_a_rule_only_public_addresses_are_called() {
    let urls = "
        https://public.example/hook http://8.8.8.8 https://[2606:4700::1111]:8443/
        http://127.0.0.1:9000 http://localhost http://10.0.0.5 http://172.16.0.1 http://172.32.0.1 http://192.168.1.1
        http://100.64.0.1 http://198.18.0.1 http://192.0.2.1 http://[::1] http://[fd12::1] http://[2001:db8::1]
        http://internal.example http://mixed.example http://mapped.example
        http://empty.example http://unknown.example";
    assert_snapshot!(verdicts(&[], urls).await, @r#"
    https://public.example/hook  ok [93.184.215.14:443, [2606:2800:21f:cb07::1]:443]
    http://8.8.8.8  ok [8.8.8.8:80]
    https://[2606:4700::1111]:8443/  ok [[2606:4700::1111]:8443]
    http://127.0.0.1:9000  127.0.0.1 is a loopback address; to allow it, add "127.0.0.1:9000" to webhooks.egress.allow
    http://localhost  localhost (127.0.0.1) is a loopback address; to allow it, add "localhost:80" to webhooks.egress.allow
    http://10.0.0.5  10.0.0.5 is a private address; to allow it, add "10.0.0.5:80" to webhooks.egress.allow
    http://172.16.0.1  172.16.0.1 is a private address; to allow it, add "172.16.0.1:80" to webhooks.egress.allow
    http://172.32.0.1  ok [172.32.0.1:80]
    http://192.168.1.1  192.168.1.1 is a private address; to allow it, add "192.168.1.1:80" to webhooks.egress.allow
    http://100.64.0.1  100.64.0.1 is a shared address; to allow it, add "100.64.0.1:80" to webhooks.egress.allow
    http://198.18.0.1  198.18.0.1 is an address for special use; to allow it, add "198.18.0.1:80" to webhooks.egress.allow
    http://192.0.2.1  192.0.2.1 is an address for special use; to allow it, add "192.0.2.1:80" to webhooks.egress.allow
    http://[::1]  [::1] is a loopback address; to allow it, add "[::1]:80" to webhooks.egress.allow
    http://[fd12::1]  [fd12::1] is a private address; to allow it, add "[fd12::1]:80" to webhooks.egress.allow
    http://[2001:db8::1]  [2001:db8::1] is an address for special use; to allow it, add "[2001:db8::1]:80" to webhooks.egress.allow
    http://internal.example  internal.example (10.0.0.5) is a private address; to allow it, add "internal.example:80" to webhooks.egress.allow
    http://mixed.example  mixed.example (10.0.0.5) is a private address; to allow it, add "mixed.example:80" to webhooks.egress.allow
    http://mapped.example  mapped.example (::ffff:10.0.0.5) is a private address; to allow it, add "mapped.example:80" to webhooks.egress.allow
    http://empty.example  looking up empty.example: it has 0 addresses
    http://unknown.example  looking up unknown.example: no such name
    "#);
}

#[tokio::test]
async fn an_address_in_disguise_is_what_it_is() {
    let urls = "
        http://2130706433/ http://0x7f.1/ http://0177.0.0.1/ http://127.1/ http://[::ffff:127.0.0.1]/
        http://[::127.0.0.1]/ http://[64:ff9b::7f00:1]/ http://[2002:7f00:1::]/ http://[2001:0:1::1]/";
    assert_snapshot!(verdicts(&[], urls).await, @r#"
    http://2130706433/  127.0.0.1 is a loopback address; to allow it, add "127.0.0.1:80" to webhooks.egress.allow
    http://0x7f.1/  127.0.0.1 is a loopback address; to allow it, add "127.0.0.1:80" to webhooks.egress.allow
    http://0177.0.0.1/  127.0.0.1 is a loopback address; to allow it, add "127.0.0.1:80" to webhooks.egress.allow
    http://127.1/  127.0.0.1 is a loopback address; to allow it, add "127.0.0.1:80" to webhooks.egress.allow
    http://[::ffff:127.0.0.1]/  [::ffff:7f00:1] is a loopback address; to allow it, add "[::ffff:7f00:1]:80" to webhooks.egress.allow
    http://[::127.0.0.1]/  [::7f00:1] is a loopback address; to allow it, add "[::7f00:1]:80" to webhooks.egress.allow
    http://[64:ff9b::7f00:1]/  [64:ff9b::7f00:1] is a loopback address; to allow it, add "[64:ff9b::7f00:1]:80" to webhooks.egress.allow
    http://[2002:7f00:1::]/  [2002:7f00:1::] is a loopback address; to allow it, add "[2002:7f00:1::]:80" to webhooks.egress.allow
    http://[2001:0:1::1]/  [2001:0:1::1] is an address for special use; to allow it, add "[2001:0:1::1]:80" to webhooks.egress.allow
    "#);
}

#[tokio::test]
async fn metadata_and_link_local_addresses_are_never_called_whatever_is_allowed() {
    let allow = ["0.0.0.0/0", "::/0", "metadata.example", "169.254.169.254:80"];
    let urls = "
        http://169.254.169.254/latest http://2852039166/ http://[::ffff:169.254.169.254]/ http://[64:ff9b::a9fe:a9fe]/
        http://metadata.example http://169.254.0.1 http://[fe80::1] http://[fd00:ec2::254] http://100.100.100.200
        http://0.0.0.0 http://[::] http://224.0.0.1 http://255.255.255.255 http://[ff02::1]
        http://127.0.0.1 http://[fd12::1]";
    assert_snapshot!(verdicts(&allow, urls).await, @r"
    http://169.254.169.254/latest  169.254.169.254 is a cloud's metadata service, and never called
    http://2852039166/  169.254.169.254 is a cloud's metadata service, and never called
    http://[::ffff:169.254.169.254]/  [::ffff:a9fe:a9fe] is a cloud's metadata service, and never called
    http://[64:ff9b::a9fe:a9fe]/  [64:ff9b::a9fe:a9fe] is a cloud's metadata service, and never called
    http://metadata.example  metadata.example (169.254.169.254) is a cloud's metadata service, and never called
    http://169.254.0.1  169.254.0.1 is a link-local address, and never called
    http://[fe80::1]  [fe80::1] is a link-local address, and never called
    http://[fd00:ec2::254]  [fd00:ec2::254] is a cloud's metadata service, and never called
    http://100.100.100.200  100.100.100.200 is a cloud's metadata service, and never called
    http://0.0.0.0  0.0.0.0 is an unspecified address, and never called
    http://[::]  [::] is an unspecified address, and never called
    http://224.0.0.1  224.0.0.1 is a multicast address, and never called
    http://255.255.255.255  255.255.255.255 is a reserved address, and never called
    http://[ff02::1]  [ff02::1] is a multicast address, and never called
    http://127.0.0.1  ok [127.0.0.1:80]
    http://[fd12::1]  ok [[fd12::1]:80]
    ");
}

#[tokio::test]
async fn a_rule_allows_its_network_host_or_port_and_no_more() {
    let allow = ["10.0.0.0/8", "localhost:9000", "192.168.1.7", "[::1]:9001", "172.16.0.2:443"];
    let urls = "
        http://10.255.0.1 http://11.0.0.1 http://internal.example http://mapped.example http://mixed.example
        http://localhost:9000 http://LOCALHOST:9000 http://localhost:9001 http://127.0.0.1:9000
        http://192.168.1.7:81 http://192.168.1.8 http://[::1]:9001 http://[::1]:9000
        https://172.16.0.2/ http://172.16.0.2/ http://[::ffff:c0a8:107]/";
    assert_snapshot!(verdicts(&allow, urls).await, @r#"
    http://10.255.0.1  ok [10.255.0.1:80]
    http://11.0.0.1  ok [11.0.0.1:80]
    http://internal.example  ok [10.0.0.5:80]
    http://mapped.example  ok [[::ffff:10.0.0.5]:80]
    http://mixed.example  ok [93.184.215.14:80, 10.0.0.5:80]
    http://localhost:9000  ok [127.0.0.1:9000, [::1]:9000]
    http://LOCALHOST:9000  ok [127.0.0.1:9000, [::1]:9000]
    http://localhost:9001  localhost (127.0.0.1) is a loopback address; to allow it, add "localhost:9001" to webhooks.egress.allow
    http://127.0.0.1:9000  127.0.0.1 is a loopback address; to allow it, add "127.0.0.1:9000" to webhooks.egress.allow
    http://192.168.1.7:81  ok [192.168.1.7:81]
    http://192.168.1.8  192.168.1.8 is a private address; to allow it, add "192.168.1.8:80" to webhooks.egress.allow
    http://[::1]:9001  ok [[::1]:9001]
    http://[::1]:9000  [::1] is a loopback address; to allow it, add "[::1]:9000" to webhooks.egress.allow
    https://172.16.0.2/  ok [172.16.0.2:443]
    http://172.16.0.2/  172.16.0.2 is a private address; to allow it, add "172.16.0.2:80" to webhooks.egress.allow
    http://[::ffff:c0a8:107]/  ok [[::ffff:192.168.1.7]:80]
    "#);
    assert_snapshot!(verdicts(&["internal.example"], "http://internal.example:1 http://internal.example.:2 http://10.0.0.5:1").await, @r#"
    http://internal.example:1  ok [10.0.0.5:1]
    http://internal.example.:2  ok [10.0.0.5:2]
    http://10.0.0.5:1  10.0.0.5 is a private address; to allow it, add "10.0.0.5:1" to webhooks.egress.allow
    "#);
}

#[tokio::test]
async fn only_web_addresses_are_called() {
    assert_snapshot!(verdicts(&["0.0.0.0/0"], "ftp://127.0.0.1/ file:///etc/passwd gopher://8.8.8.8/").await, @r"
    ftp://127.0.0.1/  only http and https addresses with a host may be called
    file:///etc/passwd  only http and https addresses with a host may be called
    gopher://8.8.8.8/  only http and https addresses with a host may be called
    ");
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_its_very_addresses_are_returned() {
    struct Rebinding(AtomicUsize);
    impl Lookup for Rebinding {
        fn lookup(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let address = if self.0.fetch_add(1, Ordering::SeqCst) == 0 { "8.8.8.8" } else { "127.0.0.1" };
            Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
        }
    }
    let guard = EgressGuard::with_lookup(Vec::new(), Arc::new(Rebinding(AtomicUsize::new(0))));
    let url = Url::parse("http://rebinding.example/").unwrap();
    assert_eq!(guard.check(&url).await.unwrap(), [SocketAddr::from(([8, 8, 8, 8], 80))]);
    assert!(guard.check(&url).await.unwrap_err().to_string().contains("loopback"));
}

#[test]
fn what_is_no_rule_is_refused() {
    for text in ["", "10.0.0.0/33", "10.0.0/8", "http://a.example", "a.example:http", "::/129", "a b", "*"] {
        assert!(text.parse::<AllowRule>().is_err(), "{text:?}");
    }
}
