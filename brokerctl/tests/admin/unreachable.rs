//! Brokers that are not there, or never answer.

use std::process::Command;

use tokio::net::{TcpListener, UnixListener};

use crate::stub::{Cluster, run};

#[tokio::test]
async fn nothing_there_is_6() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(&format!("unix:{}/none.sock", dir.path().display()), "status").await;
    assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{ran:?}");
    assert!(ran.err.contains("none.sock"), "{ran:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    assert_eq!(run(&address, "clients count").await.code, 6);
}

#[tokio::test]
async fn a_socket_that_never_answers_is_6_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mute.sock");
    let _mute = UnixListener::bind(&path).unwrap();
    for line in ["status", "clients list", "cluster status", "clients kick x"] {
        let ran = run(&format!("unix:{}", path.display()), &format!("--timeout 50ms {line}")).await;
        assert_eq!(ran.code, 6, "{line}: {ran:?}");
        assert!(ran.err.contains("within 50ms"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_service_that_speaks_something_else_is_6() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = async {
        let (stream, _) = listener.accept().await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(b"220 mail.example ESMTP\r\n").unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    };
    let ran = tokio::select! {
        ran = run(&address, "status") => ran,
        () = other => unreachable!("it is pending"),
    };
    assert_eq!(ran.code, 6, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_program_exits_with_the_code_of_its_library() {
    let cluster = Cluster::of(1, vec![]).await;
    let brokerctl = |args: &'static str, endpoint: String| {
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_brokerctl"));
            command.env("BROKERCTL_ENDPOINT", endpoint).args(args.split(' ')).output().unwrap()
        })
    };
    let done = brokerctl("status -o json", cluster.endpoint.clone()).await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let document: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(document["status"], "started");
    let done = brokerctl("clients show x", cluster.endpoint.clone()).await.unwrap();
    assert_eq!(done.status.code(), Some(4), "{done:?}");
    let done = brokerctl("--version", cluster.endpoint.clone()).await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
}
