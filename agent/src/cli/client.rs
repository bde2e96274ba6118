//! The CLI's way to the daemon: HTTP and JSON over the Unix socket.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::local_api;
use crate::problem::{Kind, Problem};

fn unreachable(path: &Path, e: &dyn std::fmt::Display) -> Problem {
    let remedy = "Start it with `schakel-agent run --config …`.";
    Problem::new(
        Kind::Later,
        "AGENT_NOT_RUNNING",
        format!("the agent does not answer: {e}"),
        remedy,
    )
    .at(path.display())
}

/// One request; the daemon's problem is given as it is.
pub async fn call(
    socket: &Path,
    method: Method,
    route: &str,
    body: Option<&Value>,
) -> Result<Value, Problem> {
    let gone = |e: &dyn std::fmt::Display| unreachable(socket, e);
    let (short, _folder) = local_api::reachable(socket).map_err(|e| gone(&e))?;
    let stream = UnixStream::connect(short).await.map_err(|e| gone(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| gone(&e))?;
    let connection = tokio::spawn(connection);
    let bytes = body
        .map(|value| Bytes::from(value.to_string()))
        .unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(route)
        .header("host", "agent")
        .header("content-type", "application/json")
        .body(Full::new(bytes))
        .map_err(|e| gone(&e))?;
    let response = sender.send_request(request).await.map_err(|e| gone(&e))?;
    let good = response.status().is_success();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|e| gone(&e))?
        .to_bytes();
    connection.abort();
    let answer: Value = serde_json::from_slice(&bytes).map_err(|e| gone(&e))?;
    if good {
        return Ok(answer);
    }
    Err(serde_json::from_value(answer).map_err(|e| gone(&e))?)
}
