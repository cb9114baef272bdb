//! `/api/v1`: the same answers as the pages, for programs; and the only place that writes: webhooks.
//! Errors are problem+json. Described by `openapi.json` beside this file; a test compares the two.

use std::sync::Arc;

use analyzer::incident::IncidentStatus;
use arrow::error::ArrowError;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use collector_table::TraceId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::backtest::BacktestAnswer;
use crate::error::{PageError, Problem};
use crate::page::{self, Period, Shared, on_blocking_thread};
use crate::rules::RETRY_AFTER_S;
use crate::search::Filter;
use crate::webhooks::{AddWebhookError, DeliveryQuery, NewWebhook, TestWebhookError};
use crate::{Dismissal, State, backtest, format, hazards, incident, logs, map, progress, search, table, trace, whole};

/// Largest body of a request, bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Deliveries in one answer.
const DELIVERIES_MAX: usize = 1_000;
/// Media type of an Arrow IPC stream, as registered.
const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

type ApiResult = Result<Response, Problem>;
/// The one variable part of an address, or why it cannot be read.
type PathText = Result<Path<String>, PathRejection>;

/// Returns the routes below `/api/v1`.
pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/incidents", get(incidents))
        .route("/incidents/{id}", get(one_incident))
        .route("/incidents/{id}/dismiss", post(dismiss_incident))
        .route("/transactions", get(transactions))
        .route("/transactions/{id}", get(one_transaction))
        .route("/traces/{trace_id}", get(one_trace))
        .route("/services", get(services))
        .route("/map", get(map))
        .route("/hazards", get(list_hazards))
        .route("/backtest", get(backtest))
        .route("/logs", get(list_logs))
        .route("/sql", post(sql))
        .route("/ingest", get(ingest))
        .route("/deliveries", get(deliveries))
        .route("/webhooks", get(webhooks).post(add_webhook))
        .route("/webhooks/{name}/test", post(test_webhook))
        .route("/openapi.json", get(openapi))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such resource; /api/v1/openapi.json lists what there is")
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this resource has other methods; /api/v1/openapi.json lists them")
}

/// Returns the text of an error that the page's parser made.
fn as_problem(error: PageError) -> Problem {
    match error {
        PageError::BadRequest(text) => Problem::new(StatusCode::BAD_REQUEST, text),
        PageError::NotFound { what, .. } => Problem::new(StatusCode::NOT_FOUND, what),
        PageError::Unavailable => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stored data cannot be read now"),
    }
}

fn read_path(path: PathText) -> Result<String, Problem> {
    path.map(|Path(text)| text).map_err(|error| Problem::new(error.status(), error.body_text()))
}

fn read_query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(value)| value).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))
}

fn read_body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(value)| value).map_err(|error| Problem::new(error.status(), error.body_text()))
}

/// Reads a body of which every field is optional: an empty one is the defaults, whatever its content type.
async fn read_optional_body<T: DeserializeOwned + Default>(request: Request) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let bytes = bytes.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    read_body(Json::from_request(Request::from_parts(parts, bytes.into()), &()).await)
}

fn read_id(text: &str) -> Result<TraceId, Problem> {
    let wrong = || Problem::new(StatusCode::BAD_REQUEST, "an id has 32 hexadecimal digits");
    text.to_lowercase().parse().map_err(|_| wrong())
}

#[derive(Deserialize)]
struct IncidentParams {
    status: Option<IncidentStatus>,
}

async fn incidents(state: Shared, params: Result<Query<IncidentParams>, QueryRejection>) -> ApiResult {
    let params = read_query(params)?;
    let summary = state.summary.borrow().clone();
    let fits = |incident: &&analyzer::Incident| params.status.is_none_or(|status| incident.status == status);
    let found: Vec<_> = summary.incidents.iter().filter(fits).collect();
    Ok(Json(json!({ "incidents": found })).into_response())
}

async fn one_incident(state: Shared, path: PathText) -> ApiResult {
    let id = read_path(path)?;
    let summary = state.summary.borrow().clone();
    let found = incident::find(&summary, &id);
    let found = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such incident"))?;
    Ok(Json(found).into_response())
}

async fn dismiss_incident(state: Shared, path: PathText) -> ApiResult {
    let id = read_path(path)?;
    let number = incident::find(&state.summary.borrow(), &id).map(|incident| incident.number);
    let number = number.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such incident"))?;
    match (state.dismiss)(number).await {
        Dismissal::Closed(incident) => Ok(Json(incident).into_response()),
        Dismissal::NotOpen => Err(Problem::new(StatusCode::CONFLICT, "the incident is not open")),
        Dismissal::Unavailable => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the analysis does not answer")),
    }
}

async fn transactions(state: Shared, filter: Result<Query<Filter>, QueryRejection>) -> ApiResult {
    let filter = read_query(filter)?;
    match filter.state.as_str() {
        "" => {}
        "open" => return Ok(Json(progress::as_json(&state.summary.borrow().progress)).into_response()),
        other => return Err(Problem::new(StatusCode::BAD_REQUEST, format!("state is open, not {other:?}"))),
    }
    let period = Period::read((state.now_ns)(), &filter.t, &filter.from, &filter.to).map_err(as_problem)?;
    let rows = state.source.transactions(filter.query(&period).map_err(as_problem)?).await?;
    Ok(Json(search::as_json(&rows)).into_response())
}

async fn one_transaction(state: Shared, path: PathText) -> ApiResult {
    let id = read_id(&read_path(path)?)?;
    let stored = whole::load(&state, id).await?;
    if stored.stored.is_cut || stored.unread > 0 {
        let text = "this transaction has more spans than one query may return, so its critical path is not known";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    on_blocking_thread(move || {
        let missing = || Problem::new(StatusCode::NOT_FOUND, "no span of this transaction is stored");
        let whole = whole::stitch(&state, &stored, true).ok_or_else(missing)?;
        Ok(Json(whole.transaction.to_json()).into_response())
    })
    .await
}

async fn one_trace(state: Shared, path: PathText) -> ApiResult {
    let id = read_id(&read_path(path)?)?;
    let trace = state.source.trace(id).await?;
    if trace.spans.iter().all(|table| table.is_empty()) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no span of this trace is stored"));
    }
    on_blocking_thread(move || Ok(Json(trace::as_otlp(&state, &trace)).into_response())).await
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct PeriodParams {
    t: String,
    from: String,
    to: String,
}

async fn services(state: Shared, params: Result<Query<PeriodParams>, QueryRejection>) -> ApiResult {
    let params = read_query(params)?;
    let period = Period::read((state.now_ns)(), &params.t, &params.from, &params.to).map_err(as_problem)?;
    let services = state.source.services(period.from_ns, period.to_ns).await?;
    Ok(Json(json!({ "services": services })).into_response())
}

async fn map(state: Shared, params: Result<Query<map::Params>, QueryRejection>) -> ApiResult {
    map::map_json(&state, &read_query(params)?).await.map_err(as_problem)
}

#[derive(Deserialize)]
struct HazardParams {
    #[serde(default)]
    service: String,
}

async fn backtest(state: Shared, params: Result<Query<backtest::Params>, QueryRejection>) -> ApiResult {
    let params = read_query(params)?;
    let in_force = state.false_alarms_per_week;
    if params.are_empty() {
        return Ok(Json(json!({ "state": "idle", "false_alarms_per_week": in_force })).into_response());
    }
    let bad = |text| Problem::new(StatusCode::BAD_REQUEST, text);
    if !params.t.is_empty() {
        return Err(bad("name from and until: what ends now is another question each time".to_owned()));
    }
    let question = params.question(in_force, (state.now_ns)()).map_err(bad)?;
    let retry = [(header::RETRY_AFTER, RETRY_AFTER_S.to_string())];
    match (state.backtest)(question) {
        BacktestAnswer::Done(result) => Ok(Json(backtest::result_json(&result)).into_response()),
        BacktestAnswer::Running(progress) => {
            let body = Json(backtest::progress_json(&question, progress));
            Ok((StatusCode::ACCEPTED, retry, body).into_response())
        }
        BacktestAnswer::Busy(other, progress) => {
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, backtest::busy_words(&other, progress));
            Ok((retry, problem).into_response())
        }
        BacktestAnswer::Failed(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

async fn list_hazards(state: Shared, params: Result<Query<HazardParams>, QueryRejection>) -> ApiResult {
    let params = read_query(params)?;
    let report = state.summary.borrow().hazards.clone();
    let hops: Vec<_> = report.hops.iter().filter(|hop| hazards::is_of(hop, &params.service)).collect();
    let period = [report.since_ns, report.as_of_ns].map(format::machine);
    let told = json!({
        "since": period[0], "as_of": period[1], "hops": hops, "chains": report.chains, "left_out": report.left_out,
    });
    Ok(Json(told).into_response())
}

async fn list_logs(state: Shared, params: Result<Query<logs::Params>, QueryRejection>) -> ApiResult {
    let query = read_query(params)?.whole_query(&state).await.map_err(as_problem)?;
    let tables = state.source.logs(query).await?;
    Ok(Json(logs::as_json(&tables)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlRequest {
    query: String,
}

async fn sql(state: Shared, headers: HeaderMap, body: Result<Json<SqlRequest>, JsonRejection>) -> ApiResult {
    let request = read_body(body)?;
    let result = state.source.sql(request.query).await?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let wants_arrow = accepted.contains(ARROW_STREAM);
    on_blocking_thread(move || {
        let unwritable = |error: ArrowError| Problem::new(StatusCode::BAD_REQUEST, error.to_string());
        if wants_arrow {
            let stream = table::arrow_stream(&result).map_err(unwritable)?;
            return Ok(([(header::CONTENT_TYPE, ARROW_STREAM)], stream).into_response());
        }
        Ok(page::json(table::json(&result, table::TEXT_BYTES_MAX).map_err(unwritable)?.text))
    })
    .await
}

async fn ingest(state: Shared) -> Response {
    Json((state.ingest)()).into_response()
}

#[derive(Deserialize)]
struct DeliveryParams {
    target: Option<String>,
    incident: Option<u64>,
}

async fn deliveries(state: Shared, params: Result<Query<DeliveryParams>, QueryRejection>) -> ApiResult {
    let params = read_query(params)?;
    let query = DeliveryQuery { target: params.target, incident: params.incident, limit: DELIVERIES_MAX };
    let found = state.webhooks.deliveries(query).await;
    let deliveries: Vec<_> = found
        .iter()
        .map(|delivery| {
            let mut value = serde_json::to_value(delivery).unwrap_or_default();
            value["created_at"] = format::machine(delivery.created_ns).into();
            value
        })
        .collect();
    Ok(Json(json!({ "deliveries": deliveries })).into_response())
}

async fn webhooks(state: Shared) -> Response {
    Json(json!({ "webhooks": state.webhooks.list().await })).into_response()
}

async fn add_webhook(state: Shared, body: Result<Json<NewWebhook>, JsonRejection>) -> ApiResult {
    let webhook = read_body(body)?;
    match state.webhooks.add(webhook).await {
        Ok(added) => Ok((StatusCode::CREATED, Json(added)).into_response()),
        Err(error) => {
            let status = match &error {
                AddWebhookError::NameExists => StatusCode::CONFLICT,
                AddWebhookError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
                AddWebhookError::Unavailable(cause) => {
                    tracing::error!(%cause, "a webhook could not be stored");
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            Err(Problem::new(status, error.to_string()))
        }
    }
}

async fn test_webhook(state: Shared, path: PathText, request: Request) -> ApiResult {
    let (name, test) = (read_path(path)?, read_optional_body(request).await?);
    match state.webhooks.test(name, test).await {
        Ok(outcome) => Ok(Json(outcome).into_response()),
        Err(error) => {
            let status = match &error {
                TestWebhookError::Unknown => StatusCode::NOT_FOUND,
                TestWebhookError::Unavailable(cause) => {
                    tracing::error!(%cause, "a test event could not be sent");
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            Err(Problem::new(status, error.to_string()))
        }
    }
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("api/openapi.json")).into_response()
}
