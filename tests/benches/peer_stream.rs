//! What a forwarded message costs on a tonic stream and on length-prefixed frames: the same prost frames, 256 messages
//! of 64 bytes each, one way over loopback TCP in one process. Prints the CPU time of both sides together.
//! Run: `cargo bench -p tests --bench peer_stream`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use prost::Message as _;
use proto::peer::{Forward, ForwardAck, Frame, Message, frame::Body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const FRAMES: u64 = 10_000;
const MESSAGES: usize = 256;

fn frame(number: u64) -> Frame {
    let payload = bytes::Bytes::from_static(&[b'x'; 64]);
    let message = |sequence| Message {
        origin: 7,
        sequence,
        qos: 1,
        topic: bytes::Bytes::from_static(b"site/1/building/2/device/3/telemetry"),
        payload: payload.clone(),
        ..Message::default()
    };
    let messages = (0..MESSAGES as u64).map(message).collect();
    Frame { hlc: number, body: Some(Body::Forward(Forward { number, ack: true, messages })) }
}

fn count(frame: &Frame) -> u64 {
    match &frame.body {
        Some(Body::Forward(forward)) => forward.messages.len() as u64,
        _ => 0,
    }
}

#[derive(Clone)]
struct Sink;

impl NamedService for Sink {
    const NAME: &'static str = "bench.Sink";
}

impl ClientStreamingService<Frame> for Sink {
    type Response = ForwardAck;
    type Future = BoxFuture<Response<ForwardAck>, Status>;
    fn call(&mut self, request: Request<Streaming<Frame>>) -> Self::Future {
        Box::pin(async move {
            let (mut stream, mut messages) = (request.into_inner(), 0);
            while let Some(frame) = stream.next().await {
                messages += count(&frame?);
            }
            Ok(Response::new(ForwardAck { up_to: messages, ..ForwardAck::default() }))
        })
    }
}

impl Service<http::Request<tonic::body::Body>> for Sink {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<ForwardAck, Frame>::default());
            Ok(grpc.client_streaming(Self, request).await)
        })
    }
}

async fn over_tonic() -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(4 << 20)
        .add_service(Sink)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let endpoint = tonic::transport::Endpoint::try_from(format!("http://{address}")).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    let (frame_tx, frame_rx) = tokio::sync::mpsc::channel(4);
    let send = tokio::spawn(async move {
        for number in 0..FRAMES {
            frame_tx.send(frame(number)).await.unwrap();
        }
    });
    let path = http::uri::PathAndQuery::from_static("/bench.Sink/Send");
    let codec = ProstCodec::<Frame, ForwardAck>::default();
    let answer = client.client_streaming(Request::new(ReceiverStream::new(frame_rx)), path, codec).await.unwrap();
    send.await.unwrap();
    server.abort();
    answer.into_inner().up_to
}

async fn over_frames() -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receive = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut buffer, mut messages) = (BytesMut::new(), 0);
        loop {
            while let Some(prefix) = buffer.first_chunk::<4>() {
                let length = u32::from_be_bytes(*prefix) as usize;
                if buffer.len() < 4 + length {
                    break;
                }
                buffer.advance(4);
                messages += count(&Frame::decode(buffer.split_to(length).freeze()).unwrap());
            }
            buffer.reserve(16 << 10);
            if socket.read_buf(&mut buffer).await.unwrap() == 0 {
                return messages;
            }
        }
    });
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut buffer = BytesMut::new();
    for number in 0..FRAMES {
        let frame = frame(number);
        let length = frame.encoded_len();
        buffer.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        frame.encode(&mut buffer).unwrap();
        socket.write_all_buf(&mut buffer).await.unwrap();
    }
    drop(socket);
    receive.await.unwrap()
}

/// User and system time of this process, in the kernel's ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

async fn measure(name: &str, run: impl Future<Output = u64>) {
    let (began, before) = (Instant::now(), cpu());
    let messages = run.await;
    let (took, used) = (began.elapsed(), cpu() - before);
    assert_eq!(messages, FRAMES * MESSAGES as u64);
    let nanos = used.as_nanos() / u128::from(messages);
    println!("{name:<8} {messages} messages, {nanos} ns of CPU each, {:.2} s", took.as_secs_f64());
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            measure("frames", over_frames()).await;
            measure("tonic", over_tonic()).await;
        }
    });
}
