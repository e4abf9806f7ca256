//! README.md and the guide: their tasks, settings, commands and links exist.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use smalti::config::{RunConfig, setting_keys};
use smalti::registry::Modalities;
use std::path::PathBuf;

/// The pages and their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let guide = std::fs::read_dir("src/guide").unwrap().map(|entry| entry.unwrap().path());
    let pages = guide.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).unwrap());
    pages.chain([PathBuf::from("README.md")]).map(read).collect()
}

/// The blocks of a language in all pages, each with the name of its page.
fn blocks(language: &str) -> Vec<(String, String)> {
    let fence = format!("```{language}\n");
    let of_page = |(path, text): (PathBuf, String)| -> Vec<(String, String)> {
        let block = |rest: &str| (path.display().to_string(), rest.split("```").next().unwrap().to_string());
        text.split(&fence).skip(1).map(block).collect()
    };
    pages().into_iter().flat_map(of_page).collect()
}

/// Fails if no modality, head or table has a setting, such as `mix.digits.inputs.image.patch_size`.
fn check_setting(page: &str, key: &str, known: &[String]) {
    let mut words: Vec<&str> = key.split('.').collect();
    if words[0] == "mix" && words.len() > 3 {
        words.drain(..2);
    }
    if ["inputs", "outputs", "mix"].contains(&words[0]) && words.len() > 1 {
        words[1] = "NAME";
    }
    let own = words.join(".");
    // The modality of an output has the settings that it has as an input.
    let of_input = own.replacen("outputs.", "inputs.", 1);
    let below = |key: &str, table: &str| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
    let is_known =
        |key: &str| known.iter().any(|known| known == key || below(known, key) || below(key, known));
    assert!(is_known(&own) || is_known(&of_input), "{page}: no setting {key}");
}

fn known_settings() -> Vec<String> {
    setting_keys(&Modalities::builtin()).into_iter().map(|setting| setting.key).collect()
}

/// The paths of all settings of a table.
fn paths(table: &toml::Table, prefix: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => paths(inner, &format!("{prefix}{name}."), found),
            _ => found.push(format!("{prefix}{name}")),
        }
    }
}

#[test]
fn tasks_are_read_and_all_their_settings_exist() {
    let known = known_settings();
    let tasks = blocks("toml");
    assert!(tasks.len() > 10);
    for (page, block) in tasks {
        // A block that shows some tables is completed to a task.
        let data =
            if block.contains("[data]") || block.contains("[mix.") { "" } else { "[data]\nsource = \"x\"\n" };
        let output = if block.contains("outputs.") { "" } else { "\n[outputs.y]\nhead = \"classify\"\n" };
        let task = format!("{data}{block}{output}");
        RunConfig::parse(&page, &task, &[]).unwrap_or_else(|error| panic!("{error}\n{block}"));
        let mut keys = vec![];
        paths(&block.parse().unwrap(), "", &mut keys);
        keys.iter().for_each(|key| check_setting(&page, key, &known));
    }
}

#[test]
fn overrides_name_settings() {
    let known = known_settings();
    let mut n_overrides = 0;
    for (path, text) in pages() {
        for rest in text.split("--set ").skip(1) {
            let key: String =
                rest.trim_start_matches('\'').chars().take_while(|c| !"= `\n".contains(*c)).collect();
            if key.contains('.') {
                n_overrides += 1;
                check_setting(&path.display().to_string(), &key, &known);
            }
        }
    }
    assert!(n_overrides > 20, "{n_overrides}");
}

#[cfg(feature = "cli")]
#[test]
fn commands_have_their_options() {
    let help = |command: &[&str]| {
        let program = env!("CARGO_BIN_EXE_smalti");
        let output = std::process::Command::new(program).args(command).arg("--help").output().unwrap();
        assert!(output.status.success(), "smalti {command:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (page, block) in blocks("sh") {
        let block = block.replace("\\\n", " ");
        for line in block.lines().map(|line| line.split(" # ").next().unwrap_or(line)) {
            // A command in quotes, of an environment, has options of its own.
            let line: String = line.split('"').step_by(2).collect();
            let Some((_, call)) = line.split_once("smalti ") else { continue };
            // The commands of `data` have options of their own.
            let n_words = if call.starts_with("data ") { 2 } else { 1 };
            let command: Vec<&str> = call.split_whitespace().take(n_words).collect();
            let help = help(&command);
            for option in call.split_whitespace().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{page}: smalti {} has no {option}", command.join(" "));
            }
        }
    }
}

#[test]
fn links_lead_to_files_and_headings() {
    let slug = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    for (path, text) in pages() {
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let labels =
            text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
        for link in inline.chain(labels.map(|(_, link)| link)).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            let lines =
                if heading.is_empty() { String::new() } else { std::fs::read_to_string(&target).unwrap() };
            let is_there = lines.lines().any(|line| line.starts_with('#') && slug(line) == heading);
            assert!(heading.is_empty() || is_there, "{}: {link}", path.display());
        }
    }
}

/// A link between pages has a label, so that it can lead to a file on GitHub and to a module on docs.rs.
#[test]
fn links_of_the_guide_lead_to_modules_too() {
    let modules = std::fs::read_to_string("src/guide/mod.rs").unwrap();
    for (path, text) in pages().into_iter().filter(|(path, _)| path.starts_with("src/guide")) {
        assert!(!text.contains(".md)"), "{}: give the link a label", path.display());
        for line in text.lines().filter(|line| line.starts_with('[') && line.contains("]: ")) {
            let label = line.split_once("]: ").unwrap().0;
            assert!(
                modules.contains(&format!("\"{label}]: ")),
                "{}: {label}] is not in mod.rs",
                path.display()
            );
        }
    }
}
