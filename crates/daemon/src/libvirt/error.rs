//! What can go wrong with libvirt, by what the caller may do about it. libvirt's own words are kept.

use std::time::Duration;

use virt::error::Error as Raw;

/// Why a call to libvirt gave no answer, or a refusal.
///
/// An error is never evidence that nothing happened: after any of them, look (list, state, XML) before deciding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LibvirtError {
    /// No domain of this UUID on this host (`VIR_ERR_NO_DOMAIN`).
    #[error("no such domain here: {message}")]
    NoDomain {
        /// libvirt's words.
        message: String,
    },
    /// The domain has no such device (`VIR_ERR_DEVICE_MISSING`).
    #[error("no such device: {message}")]
    NoDevice {
        /// libvirt's words.
        message: String,
    },
    /// libvirt understood and said no: wrong state, a blocker, bad XML, no permission. The same call fails again.
    #[error("libvirt refused: {message}")]
    Refused {
        /// libvirt's `virErrorNumber`.
        code: u32,
        /// libvirt's words.
        message: String,
    },
    /// Another job holds the domain's lock and kept it for libvirt's 30 s (`VIR_ERR_OPERATION_TIMEOUT`).
    #[error("the domain is busy with another job: {message}")]
    Busy {
        /// libvirt's words, with the name of the job.
        message: String,
    },
    /// No answer within our own deadline. The call may still be carried out later.
    #[error("libvirt did not answer `{what}` within {} s", within.as_secs())]
    Timeout {
        /// The call.
        what: &'static str,
        /// Our deadline.
        within: Duration,
    },
    /// There is no connection, or it broke during the call (which may have been carried out).
    #[error("no connection to libvirt: {message}")]
    ConnectionLost {
        /// Why, in libvirt's words where there are any.
        message: String,
    },
    /// Anything else.
    #[error("libvirt failed: {message} (error {code}, from {domain})")]
    Other {
        /// libvirt's `virErrorNumber`, 0 where the failure is not libvirt's.
        code: u32,
        /// libvirt's `virErrorDomain`.
        domain: u32,
        /// libvirt's words.
        message: String,
    },
}

impl LibvirtError {
    /// The same call may work a little later, with nothing changed by anyone.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::Timeout { .. } | Self::ConnectionLost { .. }
        )
    }

    /// libvirt's error number, where libvirt gave one.
    pub(super) fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } | Self::Other { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::NoDomain { message }
            | Self::NoDevice { message }
            | Self::Refused { message, .. }
            | Self::Busy { message }
            | Self::ConnectionLost { message }
            | Self::Other { message, .. } => message.clone(),
            Self::Timeout { .. } => self.to_string(),
        }
    }

    /// A failure of this adapter rather than of libvirt.
    pub(super) fn ours(message: impl Into<String>) -> Self {
        Self::Other {
            code: 0,
            domain: 0,
            message: message.into(),
        }
    }
}

impl From<Raw> for LibvirtError {
    fn from(raw: Raw) -> Self {
        let (code, domain) = (raw.code().to_raw(), raw.domain().to_raw());
        let message = raw.message().to_owned();
        match code {
            virt_sys::VIR_ERR_NO_DOMAIN => Self::NoDomain { message },
            virt_sys::VIR_ERR_DEVICE_MISSING => Self::NoDevice { message },
            virt_sys::VIR_ERR_OPERATION_TIMEOUT => Self::Busy { message },
            virt_sys::VIR_ERR_NO_SUPPORT
            | virt_sys::VIR_ERR_INVALID_ARG
            | virt_sys::VIR_ERR_XML_ERROR
            | virt_sys::VIR_ERR_XML_DETAIL
            | virt_sys::VIR_ERR_XML_INVALID_SCHEMA
            | virt_sys::VIR_ERR_DOM_EXIST
            | virt_sys::VIR_ERR_OPERATION_DENIED
            | virt_sys::VIR_ERR_OPERATION_INVALID
            | virt_sys::VIR_ERR_OPERATION_UNSUPPORTED
            | virt_sys::VIR_ERR_CONFIG_UNSUPPORTED
            | virt_sys::VIR_ERR_ARGUMENT_UNSUPPORTED
            | virt_sys::VIR_ERR_ACCESS_DENIED
            | virt_sys::VIR_ERR_MIGRATE_UNSAFE => Self::Refused { code, message },
            _ => Self::Other {
                code,
                domain,
                message,
            },
        }
    }
}
