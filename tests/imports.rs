//! The library's modules import in one direction, and few of them name modality crates.

use std::path::{Path, PathBuf};

/// The library's modules from the ground up: a module imports only from lines above its own.
const STOREYS: [&[&str]; 22] = [
    &["random", "pattern", "notice", "metrics", "modalities", "cuda", "heap"],
    &["rules"],
    &["ops", "env"],
    &["data"],
    &["table"],
    &["head"],
    &["task", "registry"],
    &["model"],
    &["train", "sample"],
    &["inference"],
    &["inspect"],
    &["convert"],
    &["config"],
    &["synthetic"],
    &["bench"],
    &["run"],
    &["codes"],
    &["builtin"],
    &["report"],
    &["reproduce"],
    &["pretrained"],
    &["cli", "prelude", "guide"],
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Each source file below `src`, with its module and its text without comments.
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = Path::new("src");
    let mut paths = Vec::new();
    sources(root, &mut paths);
    let module = |path: PathBuf| {
        let below = path.strip_prefix(root).unwrap();
        let first = below.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        (first, path, code.join("\n"))
    };
    paths.into_iter().map(module).collect()
}

fn storey(module: &str) -> usize {
    let found = STOREYS.iter().position(|storey| storey.contains(&module));
    found.unwrap_or_else(|| panic!("module {module} has no place in the order of imports"))
}

#[test]
fn a_module_imports_only_from_lower_ones() {
    let mut n_imports = 0;
    for (module, path, code) in modules() {
        for import in code.split("crate::").skip(1) {
            let name: String = import.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.is_empty() || name == module {
                continue;
            }
            n_imports += 1;
            let below = storey(&name) < storey(&module);
            assert!(below, "{}: {module} imports {name}, which is not below it", path.display());
        }
    }
    assert!(n_imports > 50, "the test found {n_imports} imports");
}

#[test]
fn few_modules_name_modality_crates() {
    for (module, path, code) in modules() {
        for name in ["smalti_text", "smalti_image", "smalti_audio", "smalti_numbers", "smalti_trajectory"] {
            let may = ["table", "builtin", "modalities"].contains(&module.as_str());
            assert!(may || !code.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn the_contract_does_not_depend_on_a_tensor_library() {
    let root = Path::new("modalities");
    for crate_name in ["contract", "text", "image", "audio", "numbers", "trajectory"] {
        let manifest = std::fs::read_to_string(root.join(crate_name).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("candle"), "{crate_name} depends on a tensor library");
        // Logs are read as they lie: of the contract, `trajectory` takes the limit of memory alone.
        let uses = crate_name != "contract";
        assert_eq!(manifest.contains("smalti-contract.workspace"), uses, "{crate_name}");
    }
}
