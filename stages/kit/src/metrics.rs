//! Metrics, for Prometheus. Every name is a variant of [`Metric`], so that the list of them is one.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A metric. A stage that measures something of its own adds its variant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Messages, by `outcome`: emit, skip, retry, park or reject.
    Messages,
    /// Messages skipped, by `reason`.
    Skipped,
    /// Messages set aside, by `code`.
    Quarantined,
    /// Messages that had been delivered before.
    Redeliveries,
    /// Messages in a batch.
    BatchMessages,
    /// Seconds that a batch took in the stage's handler.
    HandleSeconds,
    /// Messages published.
    Published,
    /// Messages published that the broker already had.
    PublishedDuplicates,
    /// Publications that failed and were tried again, or refused.
    PublishErrors,
    /// Acknowledgements that the broker did not confirm; the message comes again.
    AckErrors,
    /// Panics in the stage's handler.
    Panics,
    /// Messages that wait on a consumer, by `durable`.
    ConsumerPending,
    /// Messages that were delivered and not acknowledged, by `durable`.
    ConsumerAckPending,
    /// Consumers found to be ahead of their stream and made anew, by `durable`.
    ConsumersRecreated,
    /// Times that a subscription ended and was made anew, by `durable`.
    Reconnects,
    /// Webhook deliveries with a right signature, by `event` and `outcome`: stored, known or ping.
    Webhooks,
    /// Webhook deliveries that were refused, and connections without one, by `reason`.
    WebhooksRefused,
    /// Webhook deliveries of which this build knows neither what they are nor what may follow, by `what`:
    /// event or action. They are taken as they are.
    WebhooksUnknown,
    /// Signs in webhooks that waited for a request about their pull request, by `outcome`: alone, or
    /// joined with others.
    WebhookSigns,
    /// Webhook deliveries that GitHub was asked to send again.
    WebhooksRecovered,
    /// Whether the stage is connected and consuming.
    Up,
}

enum Kind {
    Counter,
    Gauge,
    /// From the first bucket's bound, each twice the one before, so many.
    Histogram(f64, u16),
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 21] = [
        Self::Messages,
        Self::Skipped,
        Self::Quarantined,
        Self::Redeliveries,
        Self::BatchMessages,
        Self::HandleSeconds,
        Self::Published,
        Self::PublishedDuplicates,
        Self::PublishErrors,
        Self::AckErrors,
        Self::Panics,
        Self::ConsumerPending,
        Self::ConsumerAckPending,
        Self::ConsumersRecreated,
        Self::Reconnects,
        Self::Webhooks,
        Self::WebhooksRefused,
        Self::WebhooksUnknown,
        Self::WebhookSigns,
        Self::WebhooksRecovered,
        Self::Up,
    ];

    /// Name, without the `_total` that Prometheus wants on counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "prmirror_messages",
            Self::Skipped => "prmirror_messages_skipped",
            Self::Quarantined => "prmirror_messages_quarantined",
            Self::Redeliveries => "prmirror_redeliveries",
            Self::BatchMessages => "prmirror_batch_messages",
            Self::HandleSeconds => "prmirror_handle_seconds",
            Self::Published => "prmirror_published",
            Self::PublishedDuplicates => "prmirror_published_duplicates",
            Self::PublishErrors => "prmirror_publish_errors",
            Self::AckErrors => "prmirror_ack_errors",
            Self::Panics => "prmirror_panics",
            Self::ConsumerPending => "prmirror_consumer_pending",
            Self::ConsumerAckPending => "prmirror_consumer_ack_pending",
            Self::ConsumersRecreated => "prmirror_consumers_recreated",
            Self::Reconnects => "prmirror_reconnects",
            Self::Webhooks => "prmirror_webhooks",
            Self::WebhooksRefused => "prmirror_webhooks_refused",
            Self::WebhooksUnknown => "prmirror_webhooks_unknown",
            Self::WebhookSigns => "prmirror_webhook_signs",
            Self::WebhooksRecovered => "prmirror_webhooks_recovered",
            Self::Up => "prmirror_up",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Messages => "Messages by outcome",
            Self::Skipped => "Messages with nothing to do, by reason",
            Self::Quarantined => "Messages set aside, by code",
            Self::Redeliveries => "Messages that had been delivered before",
            Self::BatchMessages => "Messages in a batch",
            Self::HandleSeconds => "Seconds that a batch took in the handler",
            Self::Published => "Messages published",
            Self::PublishedDuplicates => "Messages published that the broker already had",
            Self::PublishErrors => "Publications that failed",
            Self::AckErrors => "Acknowledgements that were not confirmed",
            Self::Panics => "Panics in the handler",
            Self::ConsumerPending => "Messages waiting on a consumer",
            Self::ConsumerAckPending => "Messages delivered and not acknowledged",
            Self::ConsumersRecreated => "Consumers ahead of their stream, made anew",
            Self::Reconnects => "Subscriptions made anew",
            Self::Webhooks => "Webhook deliveries, by event and outcome",
            Self::WebhooksRefused => "Webhook deliveries refused, by reason",
            Self::WebhooksUnknown => "Webhook deliveries of an unknown event or action",
            Self::WebhookSigns => "Signs in webhooks that led to a request, alone or joined",
            Self::WebhooksRecovered => "Webhook deliveries that GitHub was asked to send again",
            Self::Up => "Whether the stage is connected and consuming",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Messages
            | Self::Skipped
            | Self::Quarantined
            | Self::Redeliveries
            | Self::Published
            | Self::PublishedDuplicates
            | Self::PublishErrors
            | Self::AckErrors
            | Self::Panics
            | Self::ConsumersRecreated
            | Self::Reconnects
            | Self::Webhooks
            | Self::WebhooksRefused
            | Self::WebhooksUnknown
            | Self::WebhookSigns
            | Self::WebhooksRecovered => Kind::Counter,
            Self::ConsumerPending | Self::ConsumerAckPending | Self::Up => Kind::Gauge,
            Self::BatchMessages => Kind::Histogram(1.0, 14),
            Self::HandleSeconds => Kind::Histogram(0.001, 18),
        }
    }
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone)]
struct Buckets(f64, u16);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(self.0, 2.0, self.1))
    }
}

enum Registered {
    Counter(Family<Labels, Counter>),
    Gauge(Family<Labels, Gauge>),
    Histogram(Family<Labels, Histogram, Buckets>),
}

/// The metrics of one process. Cloning gives another handle on the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// In the order of [`Metric::ALL`], which is that of the variants.
    metrics: Vec<Registered>,
}

impl Metrics {
    /// No measurements yet; each will carry the label `stage`.
    #[must_use]
    pub fn new(stage: &str) -> Self {
        let labels = [("stage".into(), stage.to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        let metrics = Metric::ALL
            .into_iter()
            .map(|metric| match metric.kind() {
                Kind::Counter => {
                    let family = Family::default();
                    registry.register(metric.name(), metric.help(), family.clone());
                    Registered::Counter(family)
                }
                Kind::Gauge => {
                    let family = Family::default();
                    registry.register(metric.name(), metric.help(), family.clone());
                    Registered::Gauge(family)
                }
                Kind::Histogram(first, count) => {
                    let family = Family::new_with_constructor(Buckets(first, count));
                    registry.register(metric.name(), metric.help(), family.clone());
                    Registered::Histogram(family)
                }
            })
            .collect();
        Self(Arc::new(Inner { registry, metrics }))
    }

    /// Adds to a counter.
    pub fn add(&self, metric: Metric, labels: &[(&'static str, &str)], count: u64) {
        if let Some(Registered::Counter(family)) = self.find(metric) {
            family.get_or_create(&owned(labels)).inc_by(count);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, labels: &[(&'static str, &str)], value: i64) {
        if let Some(Registered::Gauge(family)) = self.find(metric) {
            family.get_or_create(&owned(labels)).set(value);
        }
    }

    /// Adds an observation to a histogram.
    pub fn observe(&self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        if let Some(Registered::Histogram(family)) = self.find(metric) {
            family.get_or_create(&owned(labels)).observe(value);
        }
    }

    /// What a counter or gauge stands at; 0 for a histogram.
    #[must_use]
    pub fn value(&self, metric: Metric, labels: &[(&'static str, &str)]) -> i64 {
        let labels = owned(labels);
        match self.find(metric) {
            Some(Registered::Counter(family)) => {
                i64::try_from(family.get_or_create(&labels).get()).unwrap_or(i64::MAX)
            }
            Some(Registered::Gauge(family)) => family.get_or_create(&labels).get(),
            Some(Registered::Histogram(_)) | None => 0,
        }
    }

    /// All of them, in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }

    fn find(&self, metric: Metric) -> Option<&Registered> {
        self.0.metrics.get(metric as usize)
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_listed_in_its_place_and_named_once() {
        let mut names = std::collections::BTreeSet::new();
        for (place, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, place, "{metric:?}");
            assert!(names.insert(metric.name()));
        }
        // The last variant: one that is added after it and not listed would be found here.
        assert_eq!(Metric::Up as usize + 1, Metric::ALL.len());
    }

    #[test]
    fn measurements_are_written_with_their_labels() {
        let metrics = Metrics::new("fetch-pr");
        metrics.add(Metric::Messages, &[("outcome", "emit")], 2);
        metrics.set(Metric::Up, &[], 1);
        metrics.observe(Metric::HandleSeconds, &[], 0.5);
        let text = metrics.encode();
        for line in [
            "prmirror_messages_total{stage=\"fetch-pr\",outcome=\"emit\"} 2",
            "prmirror_up{stage=\"fetch-pr\"} 1",
            "prmirror_handle_seconds_count{stage=\"fetch-pr\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert_eq!(metrics.value(Metric::Messages, &[("outcome", "emit")]), 2);
    }
}
