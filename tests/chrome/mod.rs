//! A headless Chromium, driven through chromedriver's WebDriver protocol (W3C) by plain HTTP. Used by the browser test.
//! Must never outlive its test: dropping it closes the browser.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::{exchange, free_ports, post, wait_until};

/// A browser window.
pub(crate) struct Chrome {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Chrome {
    /// Starts a browser, or says why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        let [address] = free_ports();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("chromedriver: {error}"))?;
        let mut chrome = Self { driver, address, session: String::new() };
        wait_until("chromedriver answers", || exchange(address, "GET", "/status", None).is_ok());
        // The tests run as root in containers, where the sandbox cannot start and /dev/shm is tiny; pages are our own.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let (status, body) = post(address, "/session", &wanted);
        if status != 200 {
            return Err(format!("chromium: {body}"));
        }
        let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        chrome.session = answer["value"]["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(chrome)
    }

    /// Opens a page and returns the text that a person sees.
    pub(crate) fn open(&self, url: &str) -> String {
        self.command("url", &json!({ "url": url }));
        let text = self.run("return document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Runs script in the page, from outside its content security policy.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Sets the window's size in CSS pixels.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.command("goog/cdp/execute", &command);
    }

    /// Returns what the console complained about since the last time: script errors, blocked styles, missing files.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        let bad = entries.iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        bad.map(|entry| entry["message"].to_string()).collect()
    }

    fn command(&self, command: &str, body: &Value) -> Value {
        let (status, answer) = post(self.address, &format!("/session/{}/{command}", self.session), body);
        assert_eq!(status, 200, "{command}: {answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["value"].clone()
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        let _ = exchange(self.address, "DELETE", &format!("/session/{}", self.session), None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
