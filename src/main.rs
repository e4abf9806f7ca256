//! smalti
fn main() {}
