//! The guide: concepts, your data, mixing, exports, a modality of your own, speed, several machines, a page about a run,
//! trackers and model cards, reproduced claims, Python.
//!
//! The same pages are Markdown files in the repository's folder `src/guide`.

/// A page. Its links have names that are defined twice: first here, as modules, and at the end of its file, as files of the
/// repository. The first definition counts, so that the links work on docs.rs and on GitHub.
macro_rules! page {
    ($name:ident, $file:literal) => {
        #[doc = concat!(
            "[concepts]: crate::guide::concepts\n",
            "[compare]: crate::guide::concepts#sweeps\n",
            "[rules]: crate::guide::concepts#attention-rules\n",
            "[data]: crate::guide::data\n",
            "[heads]: crate::guide::data#heads\n",
            "[`Table`]: crate::table::Table\n",
            "[text]: crate::guide::text\n",
            "[image]: crate::guide::image\n",
            "[audio]: crate::guide::audio\n",
            "[numbers]: crate::guide::numbers\n",
            "[trajectory]: crate::guide::trajectory\n",
            "[mixing]: crate::guide::mixing\n",
            "[published]: crate::guide::mixing#published-checkpoints\n",
            "[page]: crate::guide::report\n",
            "[export]: crate::guide::export\n",
            "[own]: crate::guide::your_own_modality\n",
            "[speed]: crate::guide::speed\n",
            "[machines]: crate::guide::several_machines\n",
            "[trackers]: crate::guide::trackers\n",
            "[wandb]: https://github.com/smalti-rs/smalti/blob/main/examples/metrics_to_wandb.py\n",
            "[example]: https://github.com/smalti-rs/smalti/blob/main/examples/06_your_own_modality.rs\n",
            "[head]: https://github.com/smalti-rs/smalti/blob/main/examples/08_ordinal_head.rs\n",
            "[layers]: https://github.com/smalti-rs/smalti/blob/main/examples/07_candle_layers.rs\n",
            "[vit]: https://github.com/smalti-rs/smalti/blob/main/python/examples/train_vit.py\n",
            "[tasks]: https://github.com/smalti-rs/smalti/tree/main/examples/tasks\n",
            "[results]: https://github.com/smalti-rs/smalti/blob/main/RESULTS.md\n",
            "[benches]: https://github.com/smalti-rs/smalti/blob/main/benches/README.md\n",
            "\n",
            include_str!($file)
        )]
        pub mod $name {}
    };
}

page!(concepts, "concepts.md");
page!(data, "data.md");
page!(text, "text.md");
page!(image, "image.md");
page!(audio, "audio.md");
page!(numbers, "numbers.md");
page!(trajectory, "trajectory.md");
page!(mixing, "mixing.md");
page!(export, "export.md");
page!(your_own_modality, "your_own_modality.md");
page!(speed, "speed.md");
page!(several_machines, "several_machines.md");
page!(report, "report.md");
page!(trackers, "trackers.md");
page!(reproduce, "reproduce.md");
page!(python, "python.md");
