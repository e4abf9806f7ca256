//! The files beside a vocabulary: `tokenizer_config.json` and `special_tokens_map.json` of transformers.
//!
//! They override the vocabulary's own file, as they do in transformers (4.57).

use super::{failed, object};
use crate::checks::model_ids;
use serde_json::{Map, Value, json};
use smalti_contract::TokenizeError;

pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIALS: &str = "special_tokens_map.json";
pub(super) const ADDED: &str = "added_tokens.json";

/// The keys of special tokens, in the order in which transformers adds those that the vocabulary lacks.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The settings of a tokenizer in the files beside its vocabulary.
#[derive(Default)]
pub(super) struct Beside {
    /// `tokenizer_config.json`.
    config: Option<Map<String, Value>>,
    /// `special_tokens_map.json`, empty if there is none.
    specials: Map<String, Value>,
    /// `added_tokens.json`: tokens and their ids.
    added: Map<String, Value>,
}

impl Beside {
    /// Parse the files that there are; `read` reads one by its name.
    pub fn read(
        read: impl Fn(&str) -> Result<Option<Vec<u8>>, TokenizeError>,
    ) -> Result<Self, TokenizeError> {
        let parse = |name: &'static str| read(name)?.map(|file| object(name, &file)).transpose();
        Ok(Self {
            config: parse(CONFIG)?,
            specials: parse(SPECIALS)?.unwrap_or_default(),
            added: parse(ADDED)?.unwrap_or_default(),
        })
    }

    /// Whether there is a `tokenizer_config.json`.
    pub fn has_config(&self) -> bool {
        self.config.is_some()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.config.as_ref().and_then(|config| config.get(key))
    }

    /// A setting that is true or false; `None` if there is none.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, TokenizeError> {
        match self.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(found) => Err(refuse(key, "true or false", found)),
        }
    }

    /// The text of a special token; `None` if it has no name here.
    pub fn token(&self, key: &str) -> Option<&str> {
        content(self.get(key).or(self.specials.get(key))?)
    }

    /// Change GPT-2's pair of files to RoBERTa's if they are of its class in transformers, or, without a class, if they have its
    /// special tokens: they are found in a text, and `<s>` and `</s>` are around it.
    pub fn apply_roberta(&self, tokenizer: &mut Map<String, Value>) {
        let names = [
            ("cls_token", "<s>"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("unk_token", "<unk>"),
            ("mask_token", "<mask>"),
        ];
        let class = self.get("tokenizer_class").and_then(Value::as_str);
        let named = names.map(|(key, usual)| (key, self.token(key).unwrap_or(usual)));
        let ids = named.map(|(_, name)| id_of(tokenizer, name));
        let [Some(first), Some(last), _, _, mask] = ids else { return };
        if class.map_or(mask.is_none(), |class| class.trim_end_matches("Fast") != "RobertaTokenizer") {
            return;
        }
        let token = |((key, name), id): ((&str, &str), Option<u64>)| {
            // The mask takes the space before it.
            let token = json!({ "content": name, "special": true, "normalized": false, "lstrip": key == "mask_token" });
            Some(with_id(&token, id?))
        };
        let mut added: Vec<Value> = named.into_iter().zip(ids).filter_map(token).collect();
        added.sort_by_key(|token| token["id"].as_u64());
        tokenizer.insert("added_tokens".into(), added.into());
        let post_processor = json!({
            "type": "RobertaProcessing", "cls": [named[0].1, first], "sep": [named[1].1, last],
            "trim_offsets": true, "add_prefix_space": false,
        });
        tokenizer.insert("post_processor".into(), post_processor);
    }

    /// Change a `tokenizer.json` as these files say.
    pub fn apply(&self, tokenizer: &mut Map<String, Value>) -> Result<(), TokenizeError> {
        if self.config.is_none() && self.specials.is_empty() && self.added.is_empty() {
            return Ok(());
        }
        self.normalize(tokenizer)?;
        self.canonicalize(tokenizer)?;
        if let Some(space) = self.flag("add_prefix_space")?
            && let Some(pre) = tokenizer.get_mut("pre_tokenizer")
            && pre.get("add_prefix_space").is_some()
        {
            pre["add_prefix_space"] = space.into();
        }
        self.add_tokens(tokenizer)?;
        self.frame(tokenizer)
    }

    /// Case, accents and Chinese characters of BERT's normaliser.
    fn normalize(&self, tokenizer: &mut Map<String, Value>) -> Result<(), TokenizeError> {
        let Some(normalizer) =
            tokenizer.get_mut("normalizer").filter(|part| part["type"] == "BertNormalizer")
        else {
            return Ok(());
        };
        for (key, setting) in
            [("do_lower_case", "lowercase"), ("tokenize_chinese_chars", "handle_chinese_chars")]
        {
            if let Some(flag) = self.flag(key)? {
                normalizer[setting] = flag.into();
            }
        }
        if self.get("strip_accents").is_some() {
            normalizer["strip_accents"] = self.flag("strip_accents")?.map_or(Value::Null, Value::Bool);
        }
        Ok(())
    }

    /// A text as transformers' class of SigLIP's tokenizers has it, whatever the `tokenizer.json` says: in lower case, unless the
    /// files say otherwise, without ASCII punctuation, and with single spaces.
    fn canonicalize(&self, tokenizer: &mut Map<String, Value>) -> Result<(), TokenizeError> {
        if self.get("tokenizer_class").and_then(Value::as_str) != Some("SiglipTokenizer") {
            return Ok(());
        }
        let replaced = |pattern: &str, content: &str| json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content });
        let lowercase = self.flag("do_lower_case")?.unwrap_or(true);
        let mut steps: Vec<Value> = lowercase.then(|| json!({ "type": "Lowercase" })).into_iter().collect();
        steps.extend([
            replaced(r"[!-/:-@\[-`{-~]", ""),
            replaced(r"\s+", " "),
            json!({ "type": "Strip", "strip_left": true, "strip_right": true }),
        ]);
        steps.extend(tokenizer.get("normalizer").filter(|own| !own.is_null()).cloned());
        let all = json!({ "type": "Sequence", "normalizers": steps });
        tokenizer.insert("normalizer".into(), all);
        Ok(())
    }

    /// Tokens that are found in a text as they are: those of `added_tokens_decoder`, and the special tokens.
    fn add_tokens(&self, tokenizer: &mut Map<String, Value>) -> Result<(), TokenizeError> {
        let mut added = match tokenizer.get("added_tokens") {
            Some(Value::Array(tokens)) => tokens.clone(),
            _ => vec![],
        };
        let known = |added: &[Value], content: &str| added.iter().any(|token| token["content"] == content);
        for (id, token) in self.decoder(&added)? {
            added.retain(|other| other["content"] != token["content"]);
            added.push(with_id(&token, id));
        }
        let others = self.get("additional_special_tokens").or(self.specials.get("additional_special_tokens"));
        let others = others.and_then(Value::as_array).into_iter().flatten().filter_map(content);
        let after = added.iter().filter_map(|token| token["id"].as_u64()).max();
        let mut next = model_ids(tokenizer).chain(after).max().map_or(0, |id| id.saturating_add(1));
        for name in NAMED.into_iter().filter_map(|key| self.token(key)).chain(others) {
            if known(&added, name) {
                continue;
            }
            let id = id_of(tokenizer, name).unwrap_or(next);
            next = next.max(id.saturating_add(1));
            added.push(with_id(&json!({ "content": name, "special": true, "normalized": false }), id));
        }
        added.sort_by_key(|token| token["id"].as_u64());
        tokenizer.insert("added_tokens".into(), added.into());
        Ok(())
    }

    /// The tokens of `added_tokens_decoder`, or of `added_tokens.json` in older checkpoints, with their ids.
    fn decoder(&self, known: &[Value]) -> Result<Vec<(u64, Value)>, TokenizeError> {
        const KEY: &str = "added_tokens_decoder";
        let Some(decoder) = self.get(KEY) else {
            let token = |(content, id): (&String, &Value)| {
                if known.iter().any(|token| token["content"] == *content) {
                    return None;
                }
                Some((id.as_u64()?, json!({ "content": content, "special": true, "normalized": false })))
            };
            return Ok(self.added.iter().filter_map(token).collect());
        };
        let entries = decoder.as_object().ok_or_else(|| refuse(KEY, "tokens by id", decoder))?;
        let entry = |(id, token): (&String, &Value)| {
            let id = id.parse().ok().filter(|_| content(token).is_some());
            id.map(|id| (id, token.clone())).ok_or_else(|| refuse(KEY, "tokens by id", token))
        };
        entries.iter().map(entry).collect()
    }

    /// What transformers' class of Llama's tokenizers puts around a text, whatever the `tokenizer.json` says.
    fn frame(&self, tokenizer: &mut Map<String, Value>) -> Result<(), TokenizeError> {
        let class = self.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
        if !["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"]
            .contains(&class.trim_end_matches("Fast"))
        {
            return Ok(());
        }
        let (mut single, mut specials) =
            (vec![json!({ "Sequence": { "id": "A", "type_id": 0 } })], Map::new());
        for (flag, default, key, usual) in
            [("add_bos_token", true, "bos_token", "<s>"), ("add_eos_token", false, "eos_token", "</s>")]
        {
            if !self.flag(flag)?.unwrap_or(default) {
                continue;
            }
            let name = self.token(key).unwrap_or(usual);
            let id = id_of(tokenizer, name).ok_or_else(|| {
                let problem = format!("{flag} is true, and the {key} {name:?} is not in the vocabulary");
                failed(CONFIG, problem)
            })?;
            let place = if key == "bos_token" { 0 } else { single.len() };
            single.insert(place, json!({ "SpecialToken": { "id": name, "type_id": 0 } }));
            specials.insert(name.into(), json!({ "id": name, "ids": [id], "tokens": [name] }));
        }
        let pair = [&single[..], &[json!({ "Sequence": { "id": "B", "type_id": 1 } })]].concat();
        let template = json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials });
        // A byte-level post-processor only moves the offsets of tokens, which are not read here.
        tokenizer.insert("post_processor".into(), template);
        Ok(())
    }
}

fn refuse(key: &str, expected: &str, found: &Value) -> TokenizeError {
    failed(CONFIG, format!("{key}: expected {expected}; found {found}"))
}

/// The text of a token, which is a text itself or an object.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// A whole added token with this id.
fn with_id(token: &Value, id: u64) -> Value {
    let flag = |key: &str, default: bool| token.get(key).and_then(Value::as_bool).unwrap_or(default);
    json!({
        "id": id,
        "content": token["content"],
        "single_word": flag("single_word", false),
        "lstrip": flag("lstrip", false),
        "rstrip": flag("rstrip", false),
        "normalized": flag("normalized", true),
        "special": flag("special", false),
    })
}

/// The id of a token among the added ones and those of the model.
fn id_of(tokenizer: &Map<String, Value>, name: &str) -> Option<u64> {
    let added = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let added = added.filter(|token| token["content"] == name).find_map(|token| token["id"].as_u64());
    added.or_else(|| match tokenizer.get("model")?.get("vocab")? {
        Value::Object(tokens) => tokens.get(name)?.as_u64(),
        Value::Array(pieces) => Some(pieces.iter().position(|piece| piece[0] == name)? as u64),
        _ => None,
    })
}
