//! The house's rules, read off its own sources: which room may depend on which, what each room may not name, and that
//! every crate has a front page and every file an opening.
//!
//! Names are looked for in source text without comments, literals and what is compiled for tests only. Each rule is
//! shown to bite by an example that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room: crate name, folder, and the rooms it may depend on.
const ROOMS: [(&str, &str, &[&str]); 6] = [
    ("gridflow-inputs", "inputs", &[]),
    ("gridflow-connectors", "inputs/connectors", &["gridflow-inputs"]),
    ("gridflow-numerics", "operators/numerics", &["gridflow-inputs"]),
    ("gridflow-operators", "operators", &["gridflow-inputs", "gridflow-numerics"]),
    ("gridflow-dataflows", "dataflows", &["gridflow-inputs", "gridflow-numerics", "gridflow-operators"]),
    ("gridflow", "", &["gridflow-inputs", "gridflow-connectors", "gridflow-numerics", "gridflow-operators", "gridflow-dataflows"]),
];

/// The world: sockets, clocks, threads, run times that bring them.
const WORLD: [&str; 6] = ["std::net", "Instant::now", "SystemTime", "std::thread", "thread::spawn", "tokio"];
const ENGINES: [&str; 2] = ["timely", "differential_dataflow"];
const UNORDERED: [&str; 2] = ["HashMap", "HashSet"];

/// What a room may not name.
fn forbidden(room: &str) -> Vec<&'static str> {
    let mut names = vec!["unsafe"];
    match room {
        "gridflow" => {}
        "gridflow-connectors" => names.extend(UNORDERED.iter().chain(&ENGINES)),
        _ => names.extend(WORLD.iter().chain(&UNORDERED)),
    }
    match room {
        "gridflow-inputs" => names.extend(ENGINES),
        "gridflow-numerics" => names.extend(ENGINES.iter().chain(&["std::fs"])),
        "gridflow-operators" | "gridflow-dataflows" => names.push("std::fs"),
        _ => {}
    }
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder, without those of the rooms inside it.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn sources_of(folder: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    ["src", "tests", "benches", "examples"].iter().for_each(|part| sources(&root().join(folder).join(part), &mut out));
    out
}

/// Source text with comments and the insides of literals blanked out.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name_before = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let raw = rest
            .trim_start_matches(['b', 'c'])
            .strip_prefix('r')
            .map(|tail| tail.trim_start_matches('#'))
            .filter(|tail| tail.starts_with('"'));
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            let (mut depth, mut at) = (0usize, 0);
            loop {
                match &rest[at..] {
                    tail if tail.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
                    tail if tail.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
                    tail => at += tail.chars().next().map_or(0, char::len_utf8),
                }
                if depth == 0 || at == rest.len() {
                    break at;
                }
            }
        } else if let (Some(tail), false) = (raw, name_before) {
            let opening = rest.len() - tail.len();
            let end = format!("\"{}", "#".repeat(rest[..opening].matches('#').count()));
            tail[1..].find(&end).map_or(rest.len(), |at| opening + 1 + at + end.len())
        } else if first == '"' {
            let mut escaped = false;
            let closing = rest.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            closing.map_or(rest.len(), |(at, _)| at + 1)
        } else if first == '\'' {
            let mut chars = rest.char_indices().skip(1);
            match (chars.next(), chars.next()) {
                (Some((_, '\\')), _) => rest[3..].find('\'').map_or(rest.len(), |at| at + 4),
                (Some(_), Some((at, '\''))) => at + 1,
                // A lifetime.
                _ => 0,
            }
        } else {
            0
        };
        if skipped == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

/// Code without items that are compiled for tests only; the names of modules among them that lie in files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut modules, mut rest) = (String::new(), Vec::new(), code);
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let end = item.find(['{', ';']).unwrap_or(item.len());
        if item[end..].starts_with(';') {
            modules.extend(item[..end].split_whitespace().skip_while(|word| *word != "mod").nth(1).map(str::to_owned));
            rest = &item[end + 1..];
            continue;
        }
        let mut depth = 0i32;
        let close = item[end..].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        rest = close.map_or("", |(at, _)| &item[end + at + 1..]);
    }
    out.push_str(rest);
    (out, modules)
}

/// Paths a use tree names, each written out: `std::{fs, net::{self}}` gives `std::fs` and `std::net`.
fn written_out(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let (mut depth, mut start, mut parts) = (0i32, 0, Vec::new());
    for (at, c) in tree.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(&tree[start..at]);
            start = at + 1;
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((head, tail)) => written_out(&format!("{prefix}{}", head.trim()), tail.trim_end().trim_end_matches('}'), out),
            None => out.push(format!("{prefix}{part}").trim_end_matches("::self").to_owned()),
        }
    }
}

/// Whether `name` stands in `code` by itself, not as part of a longer name.
fn names(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name)
        .any(|(at, _)| !code[..at].chars().next_back().is_some_and(is_word) && !code[at + name.len()..].chars().next().is_some_and(is_word))
}

/// Methods of floating-point numbers that clippy.toml bans: those that call the system's libm.
fn banned_methods() -> Vec<String> {
    let text = read(&root().join("clippy.toml"));
    let banned: Vec<String> = text.split("path = \"f64::").skip(1).filter_map(|tail| tail.split('"').next()).map(str::to_owned).collect();
    assert!(banned.iter().any(|name| name == "sin"), "clippy.toml bans no method of f64");
    banned
}

/// What a room's source text names and may not.
fn offences(room: &str, text: &str) -> BTreeSet<String> {
    let (code, _) = without_tests(&code(text));
    let mut everything = code.clone();
    for tree in code.split("use ").skip(1).filter_map(|tail| tail.split(';').next()) {
        let mut paths = Vec::new();
        written_out("", tree, &mut paths);
        everything.extend(paths.iter().flat_map(|path| ["\n", path]));
    }
    let mut found: BTreeSet<String> = forbidden(room).into_iter().filter(|name| names(&everything, name)).map(str::to_owned).collect();
    if room != "gridflow" {
        let called = |name: &String| {
            everything.contains(&format!(".{name}()"))
                || everything.contains(&format!(".{name}("))
                || names(&everything, &format!("f64::{name}"))
        };
        found.extend(banned_methods().into_iter().filter(called).map(|name| format!("f64::{name}")));
    }
    found
}

/// The crates a manifest depends on, for whatever purpose.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && !section.starts_with("workspace");
            // [dependencies.name]
            found.extend(section.split_once("dependencies.").map(|(_, name)| name.to_owned()));
        } else if inside && let Some(name) = line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty() && !name.starts_with('#')) {
            found.insert(name.to_owned());
        }
    }
    found
}

/// Dependencies a room may not have.
fn wrong_dependencies(room: &str, manifest: &str) -> BTreeSet<String> {
    let (_, _, allowed) = ROOMS.iter().find(|(name, ..)| *name == room).expect("the room is listed");
    let engines = |name: &String| ["timely", "differential-dataflow"].contains(&name.as_str());
    let has_engines = ["gridflow-operators", "gridflow-dataflows", "gridflow"].contains(&room);
    let wrong = |name: &String| {
        let ours = name.starts_with("gridflow") && !allowed.contains(&name.as_str());
        ours || (engines(name) && !has_engines) || (name == "tokio" && !["gridflow", "gridflow-connectors"].contains(&room))
    };
    dependencies(manifest).into_iter().filter(wrong).collect()
}

#[test]
fn dependencies_go_one_way() {
    for (room, folder, _) in ROOMS {
        let wrong = wrong_dependencies(room, &read(&root().join(folder).join("Cargo.toml")));
        assert!(wrong.is_empty(), "{room} must not depend on {wrong:?}");
    }
    let members: BTreeSet<String> = read(&root().join("Cargo.toml"))
        .split_once("members = [")
        .and_then(|(_, tail)| tail.split(']').next().map(str::to_owned))
        .expect("the workspace lists its members")
        .split(',')
        .map(|member| member.trim().trim_matches('"').to_owned())
        .filter(|member| !member.is_empty())
        .collect();
    let listed: BTreeSet<String> = ROOMS.iter().map(|(_, folder, _)| (*folder).to_owned()).filter(|folder| !folder.is_empty()).collect();
    assert_eq!(members, listed, "a crate of the workspace is no room, or a room is no crate");
}

#[test]
fn a_dependency_that_goes_the_wrong_way_is_found() {
    let upward = "[package]\nname = \"gridflow-numerics\"\n[dependencies]\ngridflow-inputs.workspace = true\n[dev-dependencies]\ngridflow-operators = { path = \"..\" }\n";
    assert_eq!(wrong_dependencies("gridflow-numerics", upward), BTreeSet::from(["gridflow-operators".to_owned()]));
    let engine = "[dependencies]\ntimely.workspace = true\n[dependencies.tokio]\nversion = \"1\"\n";
    assert_eq!(wrong_dependencies("gridflow-inputs", engine), BTreeSet::from(["timely".to_owned(), "tokio".to_owned()]));
    assert_eq!(wrong_dependencies("gridflow-operators", "[dependencies]\ntimely = \"0.31\"\n"), BTreeSet::new());
}

#[test]
fn no_room_names_what_it_must_not() {
    let mut wrong: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for (room, folder, _) in ROOMS {
        let mut files = Vec::new();
        sources(&root().join(folder).join("src"), &mut files);
        assert!(!files.is_empty(), "{room} has no sources");
        // Files that are compiled for tests only may use the world.
        let mut tests: BTreeSet<PathBuf> = BTreeSet::new();
        for file in &files {
            let (_, modules) = without_tests(&code(&read(file)));
            let stem = file.file_stem().expect("a file has a name");
            let home = file.parent().expect("a file lies in a folder");
            let home = if ["lib", "main", "mod"].iter().any(|name| stem == *name) { home.to_owned() } else { home.join(stem) };
            tests.extend(modules.iter().flat_map(|module| [home.join(format!("{module}.rs")), home.join(module)]));
        }
        for file in files.iter().filter(|file| !file.ancestors().any(|path| tests.contains(path))) {
            let found = offences(room, &read(file));
            if !found.is_empty() {
                wrong.insert(file.clone(), found);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_forbidden_name_is_found_however_it_is_written() {
    let found = |room: &str, text: &str| offences(room, text).into_iter().collect::<Vec<_>>();
    assert_eq!(found("gridflow-operators", "use std::net::TcpStream;"), ["std::net"]);
    assert_eq!(found("gridflow-operators", "use std::{fmt, net::{self, TcpStream}};"), ["std::net"]);
    assert_eq!(found("gridflow-inputs", "use std::time::{Duration, Instant}; fn f() { Instant::now(); }"), ["Instant::now"]);
    assert_eq!(found("gridflow-inputs", "fn f(now: SystemTime) {} use timely::Data;"), ["SystemTime", "timely"]);
    assert_eq!(found("gridflow-dataflows", "fn f() { std::thread::spawn(f); }"), ["std::thread", "thread::spawn"]);
    assert_eq!(found("gridflow-dataflows", "use std::thread; fn f() { thread::spawn(f); }"), ["std::thread", "thread::spawn"]);
    assert_eq!(
        found("gridflow-numerics", "use tokio::spawn; use std::fs; use differential_dataflow as dd;"),
        ["differential_dataflow", "std::fs", "tokio"]
    );
    assert_eq!(found("gridflow-connectors", "use std::collections::{BTreeMap, HashMap, HashSet};"), ["HashMap", "HashSet"]);
    assert_eq!(
        found("gridflow-numerics", "fn f(x: f64) -> f64 { x.sin() + f64::exp(x) + x.powi(2) }"),
        ["f64::exp", "f64::powi", "f64::sin"]
    );
    assert_eq!(found("gridflow", "fn f() { unsafe { g() } }"), ["unsafe"]);
    assert_eq!(found("gridflow-inputs", "fn f<'a>(x: &'a str) { let q = '\"'; x.sin(); }"), ["f64::sin"]);
}

#[test]
fn names_in_comments_literals_and_tests_are_no_use() {
    let text = r##"
        //! Unlike std::net, this is no socket; unsafe_code is denied.
        /* HashMap /* nested */ std::thread */
        #![deny(unsafe_code)]
        fn f() -> &'static str { "std::fs \" unsafe" }
        const RAW: &str = r#"tokio " HashSet"#;
        fn sine(x: f64) -> f64 { libm::sin(x) + x.sqrt() }
        #[cfg(test)]
        mod tests { use std::fs; fn f() { if true { unsafe {} } } }
        fn after() {}
    "##;
    assert_eq!(offences("gridflow-numerics", text), BTreeSet::new());
    assert_eq!(offences("gridflow-numerics", &text.replace("fn after() {}", "use std::fs;")), BTreeSet::from(["std::fs".to_owned()]));
    assert_eq!(without_tests("#[cfg(test)]\nmod judge;\nmod model;").1, ["judge"]);
}

#[test]
fn nothing_is_unsafe_not_even_in_tests() {
    for (_, folder, _) in ROOMS {
        for file in sources_of(folder) {
            assert!(!names(&code(&read(&file)), "unsafe"), "{} is unsafe", file.display());
        }
    }
}

#[test]
fn every_crate_has_a_front_page() {
    for (room, folder, _) in ROOMS {
        assert!(root().join(folder).join("README.md").is_file(), "{room} has no README.md");
    }
}

/// Whether a file says first what it is for.
fn opens_well(text: &str) -> bool {
    text.starts_with("//!") || text.starts_with("#![doc = include_str!(")
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<PathBuf> = ROOMS.iter().flat_map(|(_, folder, _)| sources_of(folder)).filter(|file| !opens_well(&read(file))).collect();
    assert!(silent.is_empty(), "no opening comment: {silent:#?}");
    assert!(!opens_well("use std::fmt;\n//! Too late.\n"));
    assert!(opens_well("//! What it is for.\n"));
}
