//! Starts a lab from options in JSON (its first argument), prints its summary as a line of JSON,
//! and runs until its standard input ends.

use std::io::Write as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "{}".into());
    let lab = billet_lab::Lab::start(serde_json::from_str(&text)?).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(&lab.summary())?)?;
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    lab.stop().await;
    Ok(())
}
