//! `/settings`: the effective configuration and where each value came from. Secrets arrive masked.

use askama::Template;

use crate::page::{Frame, PageResult, Shared, render};
use crate::state::Setting;

/// The page.
#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    settings: Vec<Setting>,
}

/// `GET /settings`.
pub(crate) async fn settings(state: Shared) -> PageResult {
    Ok(render(&SettingsPage { frame: Frame::new("Settings", "/settings"), settings: state.settings.clone() }))
}
