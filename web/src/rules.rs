//! `/rules`: what is told, and would another budget have told more or less? First the rules in force, in words; then a
//! form, and what a replay of stored data with that budget found beside what really opened.

use analyzer::detect::Thresholds;
use analyzer::incident::IncidentKind;
use askama::Template;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::backtest::{self, BacktestAnswer, BacktestQuestion, BacktestResult, Params};
use crate::error::PageError;
use crate::page::{Frame, PageResult, Period, Shared, render};
use crate::{State, format, text};

mod lines;
mod words;

use lines::Line;

/// Setting that holds the budget.
const SETTING: &str = "detection.false_alarms_per_week";
/// Windows that are offered, ending now.
const WINDOWS: [(&str, &str); 5] = [
    ("1h", "last hour"),
    ("6h", "last 6 hours"),
    ("24h", "last 24 hours"),
    ("3d", "last 3 days"),
    ("7d", "last 7 days"),
];
/// Budgets that are offered beside the one that was asked for.
const BUDGETS: [f64; 5] = [0.1, 0.5, 1.0, 5.0, 20.0];
/// A window of now ends at a whole minute, so that asking again soon is the same question.
const MINUTE_NS: i64 = 60 * 1_000_000_000;
/// Seconds after which it is worth asking again.
pub(crate) const RETRY_AFTER_S: u32 = 5;

/// The page.
#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    frame: Frame,
    lead: String,
    needs: Vec<(&'static str, String)>,
    kinds: Vec<(String, &'static str)>,
    budget: String,
    from: String,
    until: String,
    windows: [(&'static str, &'static str); 5],
    /// Other budgets for the same window.
    choices: Vec<Choice>,
    json_url: String,
    /// What is to be said of a question that has no result.
    notice: Option<Notice>,
    result: Option<ResultView>,
}

/// A link to the same window with another budget.
struct Choice {
    url: String,
    label: String,
    is_current: bool,
}

/// A sentence by shape and word.
struct Notice {
    class: &'static str,
    shape: &'static str,
    text: String,
    /// Where that is which it is about.
    url: Option<String>,
}

/// What a replay found.
struct ResultView {
    heading: String,
    facts: Vec<String>,
    remarks: Vec<String>,
    lines: Vec<Line>,
}

/// `GET /rules`.
pub(crate) async fn rules(state: Shared, Query(params): Query<Params>) -> PageResult {
    let in_force = state.false_alarms_per_week;
    if params.are_empty() {
        return Ok(render(&idle(&state)));
    }
    let now_ns = (state.now_ns)();
    if params.from.is_empty() && params.until.is_empty() {
        let window = Period::read(now_ns, &params.t, "", "")?;
        let until_ns = now_ns - now_ns.rem_euclid(MINUTE_NS);
        let from_ns = until_ns.saturating_sub(now_ns.saturating_sub(window.from_ns));
        let false_alarms_per_week = params.budget(in_force).map_err(PageError::BadRequest)?;
        let question = BacktestQuestion { false_alarms_per_week, from_ns, until_ns };
        return Ok(Redirect::to(&url_of(&question)).into_response());
    }
    let question = params.question(in_force, now_ns).map_err(PageError::BadRequest)?;
    Ok(asked(&state, &question, (state.backtest)(question)))
}

fn idle(state: &State) -> RulesPage {
    let in_force = state.false_alarms_per_week;
    let origin = state.settings.iter().find(|setting| setting.key == SETTING).map(|setting| setting.origin.as_str());
    RulesPage {
        frame: Frame::new("Rules", "/rules"),
        lead: words::lead(in_force, origin, &state.summary.borrow().types),
        needs: words::needs(&Thresholds::of_budget(in_force)),
        kinds: IncidentKind::ALL.map(|kind| (kind.as_str().replace('_', " "), words::meaning(kind))).into(),
        budget: in_force.to_string(),
        from: String::new(),
        until: String::new(),
        windows: WINDOWS,
        choices: Vec::new(),
        json_url: String::new(),
        notice: None,
        result: None,
    }
}

fn asked(state: &State, question: &BacktestQuestion, answer: BacktestAnswer) -> Response {
    let [_, (_, from), (_, until)] = question.params();
    let url = url_of(question);
    let choice = |budget: f64| Choice {
        url: url_of(&BacktestQuestion { false_alarms_per_week: budget, ..*question }),
        label: budget.to_string(),
        is_current: budget.to_bits() == question.false_alarms_per_week.to_bits(),
    };
    let mut page = RulesPage {
        budget: question.false_alarms_per_week.to_string(),
        from,
        until,
        choices: budgets(state.false_alarms_per_week, question.false_alarms_per_week).into_iter().map(choice).collect(),
        json_url: format!("/api/v1/backtest{}", url.trim_start_matches("/rules")),
        ..idle(state)
    };
    let notice = |class, shape, text| Some(Notice { class, shape, text, url: None });
    match answer {
        BacktestAnswer::Done(result) => page.result = Some(result_view(&result, state.false_alarms_per_week)),
        BacktestAnswer::Failed(why) => page.notice = notice("bad", "✕", format!("It could not be computed: {why}.")),
        BacktestAnswer::Running(progress) => {
            page.frame = page.frame.live(&url, None);
            page.frame.live_switch_url.clear();
            page.notice = notice("note", "◔", words::running(progress));
        }
        BacktestAnswer::Busy(other, progress) => {
            let text = backtest::busy_words(&other, progress);
            page.notice = Some(Notice { class: "warn", shape: "▲", text, url: Some(url_of(&other)) });
            let headers = [(header::RETRY_AFTER, RETRY_AFTER_S.to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, headers, render(&page)).into_response();
        }
    }
    render(&page)
}

fn url_of(question: &BacktestQuestion) -> String {
    let params = question.params();
    text::url_with("/rules", &params.each_ref().map(|(name, value)| (*name, value.as_str())))
}

/// Returns what is offered, with these two among it, in order.
fn budgets(in_force: f64, asked: f64) -> Vec<f64> {
    let mut budgets = [&BUDGETS[..], &[in_force, asked]].concat();
    budgets.sort_by(f64::total_cmp);
    budgets.dedup();
    budgets
}

fn result_view(result: &BacktestResult, in_force: f64) -> ResultView {
    let question = &result.question;
    let would = result.would_open.len() + usize::try_from(result.left_out).unwrap_or(usize::MAX);
    let facts = vec![
        format!("{} to {}", format::moment(question.from_ns), format::moment(result.replayed_until_ns)),
        format!("{} spans and {} log records replayed", format::count(result.spans), format::count(result.logs)),
        format!("what is usual learned from {} on", format::moment(result.learned_from_ns)),
    ];
    ResultView {
        heading: format!(
            "{} would have been open, {} {}",
            format::counted(would, "incident", "incidents"),
            format::len(result.opened.len()),
            if result.opened.len() == 1 { "was" } else { "were" }
        ),
        facts,
        remarks: words::remarks(result, in_force),
        lines: backtest::pairs(result).iter().filter_map(Line::new).collect(),
    }
}
