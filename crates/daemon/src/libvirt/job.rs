//! The figures of a domain's job, out of libvirt's typed parameters.

use std::ffi::c_int;

/// One typed parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Unsigned(u64),
    Double(f64),
    Boolean(bool),
    Text(String),
}

/// What a job does to the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    /// No job.
    None,
    /// It is being migrated away (or was, in the figures of an ended job).
    OutgoingMigration,
    /// It is being migrated in.
    IncomingMigration,
    /// Save, dump, snapshot, backup, start, or newer.
    Other,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobPhase {
    /// It goes on.
    Active,
    /// It ended well. Whether the guest moved is another question: look at both hosts.
    Completed,
    /// It failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

/// Figures of a job, for people and for progress. Absent where this libvirt or this moment has none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobStats {
    /// What it does.
    pub kind: JobKind,
    /// How far it is.
    pub phase: JobPhase,
    /// Since the job began, ms.
    pub elapsed_ms: Option<u64>,
    /// The guest's pause: expected while the job goes on, measured when it has ended, ms.
    pub downtime_ms: Option<u64>,
    /// Preparation before the first page, ms.
    pub setup_ms: Option<u64>,
    /// Memory and devices together, bytes.
    pub data: Progress,
    /// The guest's memory, bytes. `processed` can pass `total`: pages are sent again.
    pub memory: Progress,
    /// Memory sent per second, bytes.
    pub memory_bps: Option<u64>,
    /// Pages dirtied per second.
    pub dirty_pages_per_s: Option<u64>,
    /// Size of those pages, bytes.
    pub page_size: Option<u64>,
    /// Passes over the memory so far.
    pub iteration: Option<u64>,
    /// Why it failed, in QEMU's words (with [`JobPhase::Failed`], libvirt 6.8 or newer).
    pub error: Option<String>,
}

/// Bytes of something that is copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// All of it.
    pub total: Option<u64>,
    /// Copied so far.
    pub processed: Option<u64>,
    /// Left to copy.
    pub remaining: Option<u64>,
}

impl JobStats {
    /// `None` when libvirt says there is no job. Parameters this program does not know are ignored.
    pub(super) fn from_raw(job_type: c_int, params: &[(String, Value)]) -> Option<Self> {
        let phase = match u32::try_from(job_type).unwrap_or(u32::MAX) {
            virt_sys::VIR_DOMAIN_JOB_NONE => return None,
            virt_sys::VIR_DOMAIN_JOB_COMPLETED => JobPhase::Completed,
            virt_sys::VIR_DOMAIN_JOB_FAILED => JobPhase::Failed,
            virt_sys::VIR_DOMAIN_JOB_CANCELLED => JobPhase::Cancelled,
            _ => JobPhase::Active,
        };
        Some(JobStats {
            kind: kind(number(params, "operation")),
            phase,
            elapsed_ms: number(params, "time_elapsed"),
            downtime_ms: number(params, "downtime"),
            setup_ms: number(params, "setup_time"),
            data: progress(params, ["data_total", "data_processed", "data_remaining"]),
            memory: progress(params, ["memory_total", "memory_processed", "memory_remaining"]),
            memory_bps: number(params, "memory_bps"),
            dirty_pages_per_s: number(params, "memory_dirty_rate"),
            page_size: number(params, "memory_page_size"),
            iteration: number(params, "memory_iteration"),
            error: text(params, "errmsg"),
        })
    }

    /// The figures of a `JOB_COMPLETED` event, which says how it ended among its parameters.
    pub(super) fn from_event(params: &[(String, Value)]) -> Option<Self> {
        let success = params
            .iter()
            .find(|(name, _)| name == "success")
            .map(|(_, value)| value);
        let ended = match success {
            Some(Value::Boolean(false)) => virt_sys::VIR_DOMAIN_JOB_FAILED,
            _ => virt_sys::VIR_DOMAIN_JOB_COMPLETED,
        };
        JobStats::from_raw(ended as c_int, params)
    }
}

fn kind(operation: Option<u64>) -> JobKind {
    match operation.and_then(|operation| u32::try_from(operation).ok()) {
        Some(virt_sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT) => JobKind::OutgoingMigration,
        Some(virt_sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN) => JobKind::IncomingMigration,
        _ => JobKind::Other,
    }
}

fn progress(params: &[(String, Value)], [total, processed, remaining]: [&str; 3]) -> Progress {
    Progress {
        total: number(params, total),
        processed: number(params, processed),
        remaining: number(params, remaining),
    }
}

fn number(params: &[(String, Value)], name: &str) -> Option<u64> {
    match params.iter().find(|(found, _)| found == name)? {
        (_, Value::Unsigned(number)) => Some(*number),
        (_, Value::Int(number)) => u64::try_from(*number).ok(),
        (_, Value::Double(_) | Value::Boolean(_) | Value::Text(_)) => None,
    }
}

/// How fast a guest writes, MiB each second, out of a domain's statistics; none while it is measured.
pub(super) fn measured_rate(params: &[(String, Value)]) -> Option<u64> {
    let status = number(params, "dirtyrate.calc_status")?;
    let measured = status == u64::from(virt_sys::VIR_DOMAIN_DIRTYRATE_MEASURED);
    number(params, "dirtyrate.megabytes_per_second").filter(|_| measured)
}

fn text(params: &[(String, Value)], name: &str) -> Option<String> {
    match params.iter().find(|(found, _)| found == name)? {
        (_, Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Vec<(String, Value)> {
        let mut params = vec![
            ("operation".to_owned(), Value::Int(5)),
            ("a_field_of_the_future".to_owned(), Value::Double(0.5)),
            ("errmsg".to_owned(), Value::Text("the link broke".to_owned())),
        ];
        let numbers = [
            ("time_elapsed", 4_200),
            ("downtime", 310),
            ("memory_total", 201_326_592),
        ];
        params.extend(numbers.map(|(name, number)| (name.to_owned(), Value::Unsigned(number))));
        params
    }

    #[test]
    fn figures_are_found_by_name_and_the_unknown_ignored() {
        let stats = JobStats::from_raw(2, &params()).unwrap();
        assert_eq!(
            (stats.kind, stats.phase),
            (JobKind::OutgoingMigration, JobPhase::Active)
        );
        assert_eq!((stats.elapsed_ms, stats.downtime_ms), (Some(4_200), Some(310)));
        assert_eq!(stats.memory.total, Some(201_326_592));
        assert_eq!((stats.memory.remaining, stats.iteration), (None, None));
        assert_eq!(JobStats::from_raw(0, &params()), None);
    }

    #[test]
    fn how_fast_a_guest_writes_is_told_when_it_was_measured() {
        let params = |status| {
            vec![
                ("dirtyrate.calc_status".to_owned(), Value::Int(status)),
                ("dirtyrate.megabytes_per_second".to_owned(), Value::Int(42)),
            ]
        };
        assert_eq!(measured_rate(&params(2)), Some(42));
        assert_eq!((measured_rate(&params(1)), measured_rate(&[])), (None, None));
    }

    #[test]
    fn an_event_says_how_the_job_ended() {
        let mut params = params();
        assert_eq!(JobStats::from_event(&params).unwrap().phase, JobPhase::Completed);
        params.push(("success".to_owned(), Value::Boolean(false)));
        let stats = JobStats::from_event(&params).unwrap();
        assert_eq!(
            (stats.phase, stats.error.as_deref()),
            (JobPhase::Failed, Some("the link broke"))
        );
    }
}
