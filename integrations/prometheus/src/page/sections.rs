//! Which part of the state is in which cell of the page.

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is.
    Text,
    /// One of a few words.
    Word,
    /// A line of code, a selector, an address: as it is, in letters of one width.
    Code,
    /// A number.
    Count,
    /// A number of bytes.
    Bytes,
    /// A duration in seconds.
    Seconds,
    /// Milliseconds since the epoch.
    Time,
    /// A number of bytes, and which part it is of those by another key.
    Part { of: &'static str },
    /// A word if it is true, and then the row stands out.
    Flag { word: &'static str },
}

impl Kind {
    /// Its name in the page, by which the script knows it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Word => "word",
            Self::Code => "code",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Time => "time",
            Self::Part { .. } => "part",
            Self::Flag { .. } => "flag",
        }
    }
}

/// A cell of each row, or a figure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) key: &'static str,
    pub(super) head: &'static str,
    pub(super) kind: Kind,
}

/// A table: a list of the state.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    /// The title in a word.
    pub(super) link: &'static str,
    pub(super) note: &'static str,
    /// Whether it is shown only when somebody asks for it: it says more of what another one says.
    pub(super) is_folded: bool,
    /// What is said where the list is empty.
    pub(super) empty: &'static str,
    pub(super) columns: &'static [Column],
}

const fn column(key: &'static str, head: &'static str, kind: Kind) -> Column {
    Column { key, head, kind }
}

/// The figures at the top, of `totals`.
pub(super) const FIGURES: &[Column] = &[
    column("running_queries", "queries running", Kind::Count),
    column("waiting_requests", "requests waiting", Kind::Count),
    column("queries", "queries so far", Kind::Count),
    column("failed_queries", "queries failed", Kind::Count),
    column("warnings", "partial answers", Kind::Count),
    column("open", "things open", Kind::Count),
    column("lost", "closes lost", Kind::Count),
    column("blocks", "blocks", Kind::Count),
    column("wrong_blocks", "blocks wrong", Kind::Count),
    column("closing_blocks", "blocks closing", Kind::Count),
    column("readers", "readers of blocks", Kind::Count),
    column("series", "series in blocks", Kind::Count),
    column("header_bytes", "headers of blocks", Kind::Bytes),
    column("syncs", "block syncs", Kind::Count),
    column("failed_syncs", "syncs failed", Kind::Count),
    column("since_sync_seconds", "since the last sync", Kind::Seconds),
];

/// The tables, in the order of the page.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        key: "queries",
        title: "Running queries",
        link: "Queries",
        is_folded: false,
        note: "The oldest first. The name is that by which blocks, ledger and log know a query.",
        empty: "No query runs.",
        columns: &[
            column("query", "query", Kind::Text),
            column("kind", "asked by", Kind::Word),
            column("stage", "stage", Kind::Word),
            column("age_seconds", "for", Kind::Seconds),
            column("series", "series given", Kind::Count),
            column("chunk_bytes", "chunks given", Kind::Bytes),
            column("blocks", "blocks", Kind::Count),
            column("servers", "servers", Kind::Count),
            column("selector", "selector", Kind::Code),
            column("min_ms", "from (UTC)", Kind::Time),
            column("max_ms", "to (UTC)", Kind::Time),
        ],
    },
    Section {
        key: "pools",
        title: "Memory",
        link: "Memory",
        is_folded: false,
        note: "What queries hold. Long held is what was left behind: it is held for longer than a query may take.",
        empty: "There is no pool.",
        columns: &[
            column("pool", "pool", Kind::Word),
            column("used_bytes", "used", Kind::Part { of: "budget_bytes" }),
            column("long_held_bytes", "long held", Kind::Part { of: "budget_bytes" }),
            column("peak_bytes", "peak", Kind::Bytes),
            column("idle_bytes", "idle", Kind::Bytes),
            column("leases", "leases", Kind::Count),
            column("waiting", "waiting", Kind::Count),
            column("refused", "refused", Kind::Count),
        ],
    },
    Section {
        key: "open_sites",
        title: "What is open, by line of code",
        link: "Open",
        is_folded: false,
        note: "Each line that has opened something that is open, the oldest first. Overdue is what is open for longer than twice the \
               time that a query may take: somebody has forgotten to close it.",
        empty: "Nothing is open.",
        columns: &[
            column("site", "opened at", Kind::Code),
            column("count", "open", Kind::Count),
            column("overdue", "overdue", Kind::Flag { word: "overdue" }),
            column("oldest", "the oldest", Kind::Text),
            column("age_seconds", "for", Kind::Seconds),
            column("since_ms", "since (UTC)", Kind::Time),
        ],
    },
    Section {
        key: "blocks",
        title: "Blocks",
        link: "Blocks",
        is_folded: false,
        note: "A block that is closing was removed, and goes with its last reader.",
        empty: "There is no block.",
        columns: &[
            column("block", "block", Kind::Code),
            column("state", "state", Kind::Word),
            column("readers", "readers", Kind::Count),
            column("oldest_reader_seconds", "oldest reader", Kind::Seconds),
            column("closing_seconds", "closing for", Kind::Seconds),
            column("series", "series", Kind::Count),
            column("header_bytes", "header", Kind::Bytes),
            column("min_ms", "from (UTC)", Kind::Time),
            column("max_ms", "to (UTC)", Kind::Time),
            column("labels", "labels", Kind::Code),
        ],
    },
    Section {
        key: "readers",
        title: "Readers of blocks",
        link: "Readers",
        is_folded: true,
        note: "Of each block the oldest first.",
        empty: "No block is read.",
        columns: &[
            column("block", "block", Kind::Code),
            column("reader", "reader", Kind::Text),
            column("age_seconds", "for", Kind::Seconds),
            column("since_ms", "since (UTC)", Kind::Time),
            column("site", "entered at", Kind::Code),
        ],
    },
    Section {
        key: "stores",
        title: "Stores",
        link: "Stores",
        is_folded: false,
        note: "Of two samples of one moment, the one of the first store is taken.",
        empty: "There is no store.",
        columns: &[
            column("store", "store", Kind::Code),
            column("kind", "kind", Kind::Word),
            column("labels", "labels", Kind::Code),
        ],
    },
    Section {
        key: "syncs",
        title: "Block syncs",
        link: "Syncs",
        is_folded: false,
        note: "The last times that blocks were added, replaced, removed or wrong, the newest first.",
        empty: "Nothing was found.",
        columns: &[
            column("at_ms", "at (UTC)", Kind::Time),
            column("took_seconds", "took", Kind::Seconds),
            column("found", "found", Kind::Text),
        ],
    },
    Section {
        key: "failures",
        title: "Failures and partial answers",
        link: "Failures",
        is_folded: false,
        note: "The last ones, the newest first.",
        empty: "No query has failed.",
        columns: &[
            column("at_ms", "at (UTC)", Kind::Time),
            column("kind", "kind", Kind::Word),
            column("query", "query", Kind::Text),
            column("problem", "problem", Kind::Text),
        ],
    },
    Section {
        key: "open",
        title: "The oldest things that are open",
        link: "Oldest",
        is_folded: true,
        note: "Up to 16 of them.",
        empty: "Nothing is open.",
        columns: &[
            column("what", "what", Kind::Text),
            column("age_seconds", "for", Kind::Seconds),
            column("since_ms", "since (UTC)", Kind::Time),
            column("site", "opened at", Kind::Code),
            column("last_use", "last use", Kind::Text),
        ],
    },
    Section {
        key: "unclosed",
        title: "Ended without having been closed",
        link: "Unclosed",
        is_folded: true,
        note: "The last ones. What was lost is always a bug; what was dropped unclosed may be a client that went away.",
        empty: "All that has ended was closed.",
        columns: &[
            column("ended_ms", "ended (UTC)", Kind::Time),
            column("ending", "how", Kind::Word),
            column("what", "what", Kind::Text),
            column("site", "opened at", Kind::Code),
        ],
    },
];
