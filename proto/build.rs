//! Compiles the protobuf files with a compiler written in Rust, so that no `protoc` need be installed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/admin.proto", "proto/claims.proto", "proto/peer.proto"];
    let set = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().bytes(".brokerd.peer").compile_fds(set)?;
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
