//! What is logged.

use std::io::Write;

/// What each line begins with.
pub(crate) const BEGINNING: &[u8] = b"10.4.";

/// `size` bytes of a web server's log: whole lines of 80 to 120 bytes, always the same.
pub(crate) fn lines(size: usize) -> Vec<u8> {
    const METHODS: [&str; 8] = ["GET", "GET", "GET", "POST", "GET", "HEAD", "GET", "PUT"];
    const PATHS: [&str; 6] = [
        "/",
        "/health",
        "/static/app.3f2a.css",
        "/api/v2/orders",
        "/images/logo.svg",
        "/api/v2/users/search",
    ];
    const STATUSES: [u16; 8] = [200, 200, 200, 304, 404, 200, 302, 500];
    const AGENTS: [&str; 3] = ["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "Mozilla/5.0 Firefox/128.0"];
    let mut text = Vec::with_capacity(size + 200);
    let mut random = 1_u64;
    while text.len() < size {
        // Knuth's linear congruential generator; its upper bits are the good ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = |shift: u32, count: usize| (random >> shift) as usize % count;
        writeln!(
            text,
            "10.4.{}.{} - - \"{} {} HTTP/1.1\" {} {} \"-\" \"{}\" {:.3}",
            pick(40, 256),
            pick(48, 256),
            METHODS[pick(33, METHODS.len())],
            PATHS[pick(36, PATHS.len())],
            STATUSES[pick(44, STATUSES.len())],
            pick(30, 100_000),
            AGENTS[pick(52, AGENTS.len())],
            pick(34, 1_000_000) as f64 / 1e6,
        )
        .expect("memory takes bytes");
    }
    text
}
