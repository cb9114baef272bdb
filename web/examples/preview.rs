//! Serves the pages of a made-up shop, for whoever works on their looks: `cargo run -p web --example preview`.
//! Give an address to listen on, and `empty` to see a daemon that has received nothing.

#[path = "../tests/shop/mod.rs"]
mod shop;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8317".to_owned());
    let state = if arguments.next().as_deref() == Some("empty") { shop::empty() } else { shop::shop() };
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, web::router(state)).await
}
