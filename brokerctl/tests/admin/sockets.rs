//! Where the API is served, and to whom.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use brokerd::admin::{Admin, AdminParts, StartError};
use brokerd::config::Endpoint;
use brokerd::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::stub::{Peer, run, serve, this_node};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

async fn try_serve(dir: &Path, listen: Endpoint) -> Result<Admin, StartError> {
    let parts = AdminParts {
        listen,
        runtime_dir: dir.join("run"),
        this_node: Arc::new(this_node("a", 0)),
        nodes: None,
        counters: Metrics::default().block(),
    };
    brokerd::admin::serve(parts).await
}

#[tokio::test]
async fn by_default_a_private_socket_in_a_private_directory_is_made_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let admin = try_serve(dir.path(), Endpoint::Auto).await.unwrap();
    let socket = dir.path().join("run/admin.sock");
    assert_eq!(admin.endpoint().to_string(), format!("unix:{}", socket.display()));
    assert_eq!((mode(&dir.path().join("run")), mode(&socket)), (0o700, 0o600));
    assert_eq!(run(&admin.endpoint().to_string(), "status").await.code, 0);
    admin.stop().await;
    assert!(!socket.exists(), "the socket outlived its broker");
}

#[tokio::test]
async fn a_runtime_directory_that_somebody_else_could_fill_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    symlink(dir.path(), dir.path().join("run")).unwrap();
    let error = try_serve(dir.path(), Endpoint::Auto).await.unwrap_err().to_string();
    assert!(error.contains("symbolic link") && error.contains("admin.listen"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    std::fs::set_permissions(dir.path().join("run"), PermissionsExt::from_mode(0o777)).unwrap();
    let error = try_serve(dir.path(), Endpoint::Auto).await.unwrap_err().to_string();
    assert!(error.contains("writable by other users"), "{error}");
}

#[tokio::test]
async fn a_dead_socket_file_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let admin = try_serve(dir.path(), Endpoint::Unix(path)).await.unwrap();
    assert_eq!(run(&admin.endpoint().to_string(), "status").await.code, 0);
}

#[tokio::test]
async fn a_live_socket_refuses_the_start_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let admin = try_serve(dir.path(), Endpoint::Unix(path.clone())).await.unwrap();
    let error = try_serve(dir.path(), Endpoint::Unix(path.clone())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("admin.listen") && text.contains(&*path.to_string_lossy()), "{text}");
    assert_eq!(run(&admin.endpoint().to_string(), "status").await.code, 0);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "precious").unwrap();
    let error = try_serve(dir.path(), Endpoint::Unix(path.clone())).await.unwrap_err();
    assert!(matches!(error, StartError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn tcp_needs_the_token_that_only_this_user_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let admin = serve(dir.path(), Endpoint::Tcp(([127, 0, 0, 1], 0).into()), 1, vec![]).await;
    let endpoint = admin.endpoint().to_string();
    let port = endpoint.rsplit(':').next().unwrap();
    let token = dir.path().join("run").join(format!("token-{port}"));
    assert_eq!(mode(&token), 0o600);
    let ran = run(&endpoint, &format!("--token-file {} status", token.display())).await;
    assert_eq!(ran.code, 0, "{ran:?}");

    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "0".repeat(64)).unwrap();
    let ran = run(&endpoint, &format!("--token-file {} -o json clients list", wrong.display())).await;
    assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{ran:?}");
    let ran = run(&endpoint, &format!("--token-file {}/none status", dir.path().display())).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    let ran = run(&endpoint, "clients kick a-00000").await;
    assert_eq!(ran.code, 5, "without a token: {ran:?}");

    admin.stop().await;
    assert!(!token.exists(), "the token outlived its broker");
}

#[tokio::test]
async fn an_address_outside_the_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = try_serve(dir.path(), Endpoint::Tcp(([0, 0, 0, 0], 0).into())).await.unwrap_err();
    assert!(matches!(error, StartError::NotLoopback(_)), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = try_serve(dir.path(), Endpoint::Tcp(address)).await.unwrap_err().to_string();
    assert!(error.contains("admin.listen") && error.contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn junk_is_cut_off_and_leaves_the_api_serving() {
    let dir = tempfile::tempdir().unwrap();
    let unix = serve(dir.path(), Endpoint::Unix(dir.path().join("u.sock")), 1, vec![("b", Peer::Answers(1))]).await;
    let tcp = serve(dir.path(), Endpoint::Tcp(([127, 0, 0, 1], 0).into()), 1, vec![]).await;
    let junk =
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", &HALF_A_PREFACE];
    for bytes in junk {
        let mut stream = UnixStream::connect(dir.path().join("u.sock")).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let mut stream = TcpStream::connect(tcp.endpoint().to_string()).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let ran = run(&unix.endpoint().to_string(), "-o json clients count").await;
    assert_eq!((ran.code, &ran.json()["total"]), (0, &2.into()), "{ran:?}");
    assert_eq!(run(&tcp.endpoint().to_string(), "status").await.code, 5);
}

const HALF_A_PREFACE: [u8; 12] = *b"PRI * HTTP/2";
