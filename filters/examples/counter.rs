// Tells all clients how many there are, whenever one comes or goes. Rust under `lines`.
//
//     $ rustc -O counter.rs
//     $ printf 'open\ta\t/\nopen\tb\t/\nclose\ta\t1000\n' | ./counter
//     send	*	1
//     send	*	2
//     send	*	1
//
// Serve it: fws-pipe "lines ./counter"

use std::io::{stdin, stdout, BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut here = 0;
    let mut line = Vec::new();
    let (mut input, mut output) = (stdin().lock(), stdout().lock());
    while input.read_until(b'\n', &mut line)? > 0 {
        let change = match line.split(|&byte| byte == b'\t').next() {
            Some(b"open") => 1,
            Some(b"close") => -1,
            _ => 0,
        };
        if change != 0 {
            here += change;
            writeln!(output, "send\t*\t{here}")?; // written at once: Rust's stdout ends its block with each line
        }
        line.clear();
    }
    Ok(())
}
