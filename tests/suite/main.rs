//! All integration tests that can share a process: one binary to link in place of twenty.
//!
//! Tests with an allocator of their own, those of several ranks and those of the source tree are binaries of their own.

#[path = "../support/commands.rs"]
mod commands;
#[path = "../support/files.rs"]
mod files;
#[cfg(feature = "remote")]
#[path = "../support/hub.rs"]
mod hub;
#[cfg(feature = "trajectory")]
#[path = "../support/rlds.rs"]
mod rlds;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tasks.rs"]
mod tasks;

mod activation_checkpointing;
mod attention_pool;
mod bad_input;
mod block_settings;
mod bridge;
mod candle_layers;
mod cli_check;
mod cli_inspect;
mod cli_tokenize;
mod codebook;
mod convert;
mod documents;
mod evaluation;
mod experts;
mod exports;
mod heads;
mod hub_data;
mod image_policy;
mod inside;
mod interrupted;
mod key_to_door;
mod learns;
mod logs;
mod memory;
mod messages;
mod mixers;
mod objectives;
mod parts;
mod preferences;
mod pretrained;
mod progress;
mod quantized;
mod real_data;
mod remote;
mod report;
mod reproduce;
mod start;
mod synthetic;
mod trackers;
mod trained_on;
mod training_habits;
mod unread_rows;
mod whisper_decoding;
mod your_own_head;
mod your_own_modality;
