//! Makes Rust of the messages of the StoreAPI. The compiler of them is in Rust, too: none has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["store/storepb/rpc.proto", "info/infopb/rpc.proto"], ["proto"])?;
    // Their comments are no Markdown, and what is in them may look like code to be tested.
    let mut config = prost_build::Config::new();
    config.bytes(["."]).disable_comments(["."]);
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::store_api::codec::Codec")
        .compile_fds_with_config(files, config)?;
    Ok(())
}
