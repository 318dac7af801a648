//! The HTTP of it: 64 connections at a time, a head of 8 KiB within 5 seconds, a connection of a minute. Never reads a
//! body.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Phase, Shared, prometheus};

/// Connections at a time; one more is closed at once.
const CONNECTIONS: usize = 64;
/// Of the request line and the headers.
const HEAD: usize = 8 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A scraper that keeps its connection opens another one then.
const LIFE: Duration = Duration::from_secs(60);
/// After an accept that failed, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(listener: TcpListener, phase: Shared) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let phase = phase.clone();
        connections.spawn(async move {
            let _ = tokio::time::timeout(LIFE, connection(stream, phase)).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, phase: Shared) {
    let service = service_fn(move |request| {
        let phase = phase.read().clone();
        async move { Ok::<_, Infallible>(answer(&request, phase).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD);
    // Whoever breaks off, or speaks something else, has no answer coming.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: &Request<Incoming>, phase: Phase) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".into());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match (request.uri().path(), phase) {
        ("/livez", _) => text(StatusCode::OK, "alive\n".into()),
        ("/readyz", Phase::Not(why)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        ("/readyz", Phase::Serving(subject)) => match subject.why_not_ready() {
            None => text(StatusCode::OK, "ready\n".into()),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        ("/metrics", Phase::Serving(subject)) => {
            let mut response = text(StatusCode::OK, prometheus::page(&subject.figures().await));
            let format = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
        ("/metrics", Phase::Not(why)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        _ => text(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
