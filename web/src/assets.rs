//! The stylesheet, the script and the icon, in the binary. Their URLs carry a hash of their content, so that a
//! browser keeps them for good and never mixes two releases.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("../static/throughline.css");
const SCRIPT: &str = include_str!("../static/throughline.js");
const ICON: &str = include_str!("../static/throughline.svg");

/// URLs of the static files.
pub(crate) struct Urls {
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
}

/// URLs of this build's static files.
pub(crate) static URLS: LazyLock<Urls> = LazyLock::new(|| Urls {
    style: url("throughline", STYLE, "css"),
    script: url("throughline", SCRIPT, "js"),
    icon: url("throughline", ICON, "svg"),
});

fn url(name: &str, content: &str, extension: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("/static/{name}-{:016x}.{extension}", hasher.finish())
}

/// `GET /static/{name}`.
pub(crate) async fn file(Path(name): Path<String>) -> Response {
    let (content, content_type) = match name.rsplit_once('.') {
        Some((_, "css")) => (STYLE, "text/css; charset=utf-8"),
        Some((_, "js")) => (SCRIPT, "text/javascript; charset=utf-8"),
        Some((_, "svg")) => (ICON, "image/svg+xml"),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // A page of an older build may still ask by its hash: it gets today's file, but does not keep it.
    let path = format!("/static/{name}");
    let is_current = [&URLS.style, &URLS.script, &URLS.icon].contains(&&path);
    let cache = if is_current { "public, max-age=31536000, immutable" } else { "no-cache" };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, cache)], content).into_response()
}
