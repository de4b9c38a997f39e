//! tmp
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let full = std::fs::read_to_string(&a[1]).unwrap();
    let docs = std::fs::read_to_string(&a[2]).unwrap();
    print!("{}", github_sim::trim_schema(&full, &docs).unwrap_or_else(|e| panic!("{e}")));
}
