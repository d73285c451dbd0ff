//! The macro behind `Instruments`: one line per metric gives the field, its registration, its help
//! text (the doc comment) and its row in the reference.

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// One row of the metrics reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Name as scraped, with its unit as the suffix.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Label names in order.
    pub labels: &'static [&'static str],
    /// One paragraph, the same as in `# HELP`.
    pub help: &'static str,
}

/// A kind of metric that the macro can make.
pub(super) trait Instrument: Collector + Clone + Sized + 'static {
    const KIND: &'static str;

    fn create(description: &Description) -> prometheus::Result<Self>;
}

pub(super) fn register<I: Instrument>(
    registry: &Registry,
    description: &Description,
) -> prometheus::Result<I> {
    let instrument = I::create(description)?;
    registry.register(Box::new(instrument.clone()))?;
    Ok(instrument)
}

macro_rules! plain {
    ($type:ident, $kind:literal) => {
        impl Instrument for $type {
            const KIND: &'static str = $kind;

            fn create(description: &Description) -> prometheus::Result<Self> {
                $type::with_opts(Opts::new(description.name, description.help))
            }
        }
    };
}

macro_rules! labelled {
    ($type:ident, $kind:literal) => {
        impl Instrument for $type {
            const KIND: &'static str = $kind;

            fn create(description: &Description) -> prometheus::Result<Self> {
                $type::new(
                    Opts::new(description.name, description.help),
                    description.labels,
                )
            }
        }
    };
}

plain!(IntCounter, "counter");
plain!(IntGauge, "gauge");
plain!(Gauge, "gauge");
labelled!(IntCounterVec, "counter");
labelled!(IntGaugeVec, "gauge");

fn latency(description: &Description) -> HistogramOpts {
    HistogramOpts::new(description.name, description.help).buckets(super::LATENCY_BUCKETS.to_vec())
}

impl Instrument for Histogram {
    const KIND: &'static str = "histogram";

    fn create(description: &Description) -> prometheus::Result<Self> {
        Histogram::with_opts(latency(description))
    }
}

impl Instrument for HistogramVec {
    const KIND: &'static str = "histogram";

    fn create(description: &Description) -> prometheus::Result<Self> {
        HistogramVec::new(latency(description), description.labels)
    }
}

macro_rules! metrics {
    (
        $(#[$struct_meta:meta])*
        pub struct $struct:ident {
            $(
                $(#[doc = $help:literal])+
                $vis:vis $field:ident: $type:ident = $name:literal $([$($label:literal),+])?;
            )+
        }
    ) => {
        $(#[$struct_meta])*
        #[derive(Debug)]
        pub struct $struct {
            $($(#[doc = $help])+ $vis $field: $type,)+
        }

        impl $struct {
            /// Every metric in the order of the struct, for the reference.
            pub const DESCRIPTIONS: &'static [Description] = &[
                $(Description {
                    name: $name,
                    kind: <$type as self::define::Instrument>::KIND,
                    labels: &[$($($label),+)?],
                    help: concat!($($help),+).trim_ascii_start(),
                },)+
            ];

            fn register(registry: &Registry) -> prometheus::Result<Self> {
                let mut descriptions = Self::DESCRIPTIONS.iter();
                $(
                    // The list above and this one come from the same repetition.
                    let $field = match descriptions.next() {
                        Some(description) => self::define::register(registry, description)?,
                        None => return Err(prometheus::Error::Msg(String::from($name))),
                    };
                )+
                Ok(Self { $($field,)+ })
            }
        }
    };
}

pub(super) use metrics;
