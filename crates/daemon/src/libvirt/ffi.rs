//! What the crate `virt` lacks or has wrong, by calling libvirt's C functions directly.
//!
//! One of two files of the workspace with `unsafe`: libvirt's callbacks are C function pointers, and `virt` 0.5.0 wraps
//! neither events nor the close callback, detach by alias, abort, migration parameters without a leak, or job
//! statistics without undefined behaviour; and its `Domain::state` drops the error. Only functions of libvirt 9.0 or older: a newer name would not link.
//!
//! Rules for a callback: it runs on the event loop's thread, copies what it needs, sends and returns. It calls nothing
//! of libvirt but the getters that read the object in hand, and lets no panic cross into C.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::Arc,
};

use godwit_migration::plan::Machine;
use tokio::sync::broadcast;
use uuid::Uuid;
use virt::{connect::Connect, domain::Domain, error::Error};
use virt_sys as sys;

use super::{
    error::LibvirtError,
    event::{Event, Lifecycle},
    job::{JobStats, Value, measured_rate},
};

/// A text for C.
fn c_string(text: &str) -> Result<CString, LibvirtError> {
    CString::new(text).map_err(|_| LibvirtError::ours("a text for libvirt contains a NUL character"))
}

fn succeeded(returned: c_int) -> Result<c_int, LibvirtError> {
    if returned < 0 {
        Err(Error::last_error().into())
    } else {
        Ok(returned)
    }
}

/// State and reason of a domain, as libvirt's numbers. Needs no job.
pub(super) fn state(domain: &Domain) -> Result<(c_int, c_int), LibvirtError> {
    let (mut state, mut reason) = (-1, -1);
    // SAFETY: the pointer is valid while `domain` is borrowed; both numbers outlive the call.
    succeeded(unsafe { sys::virDomainGetState(domain.as_ptr(), &mut state, &mut reason, 0) })?;
    Ok((state, reason))
}

/// Asks the guest to let go of the device of this alias. Says nothing about whether it will.
pub(super) fn detach_alias(domain: &Domain, alias: &str) -> Result<(), LibvirtError> {
    let alias = c_string(alias)?;
    let flags = sys::VIR_DOMAIN_AFFECT_LIVE as c_uint;
    // SAFETY: both pointers are valid during the call; libvirt copies the alias.
    succeeded(unsafe { sys::virDomainDetachDeviceAlias(domain.as_ptr(), alias.as_ptr(), flags) })?;
    Ok(())
}

/// Aborts the domain's current job.
pub(super) fn abort_job(domain: &Domain) -> Result<(), LibvirtError> {
    // SAFETY: the pointer is valid while `domain` is borrowed.
    succeeded(unsafe { sys::virDomainAbortJob(domain.as_ptr()) })?;
    Ok(())
}

/// Lets the guest of an outgoing migration that may post-copy go on at the destination.
pub(super) fn start_post_copy(domain: &Domain) -> Result<(), LibvirtError> {
    // SAFETY: the pointer is valid while `domain` is borrowed.
    succeeded(unsafe { sys::virDomainMigrateStartPostCopy(domain.as_ptr(), 0) })?;
    Ok(())
}

/// The pause that QEMU aims at in a migration, ms.
pub(super) fn max_downtime(domain: &Domain) -> Result<u64, LibvirtError> {
    let mut downtime = 0;
    // SAFETY: the pointer is valid while `domain` is borrowed; the number outlives the call.
    succeeded(unsafe { sys::virDomainMigrateGetMaxDowntime(domain.as_ptr(), &mut downtime, 0) })?;
    Ok(downtime)
}

/// Figures of the current job, or with `VIR_DOMAIN_JOB_STATS_COMPLETED` of the last; `None` without one.
pub(super) fn job_stats(domain: &Domain, flags: c_uint) -> Result<Option<JobStats>, LibvirtError> {
    let mut job_type = sys::VIR_DOMAIN_JOB_NONE as c_int;
    let mut params = Params::default();
    // SAFETY: all pointers are valid during the call. libvirt fills `params` with an array of its own (or leaves it
    // empty), which `Params` gives back.
    succeeded(unsafe {
        sys::virDomainGetJobStats(
            domain.as_ptr(),
            &mut job_type,
            &mut params.array,
            &mut params.count,
            flags,
        )
    })?;
    Ok(JobStats::from_raw(job_type, &params.read()))
}

/// Migrates, which takes as long as it takes. `params` are (name, value) of `VIR_MIGRATE_PARAM_*`.
pub(super) fn migrate(
    domain: &Domain,
    destination: &str,
    params: &[(&CStr, Value)],
    flags: c_uint,
) -> Result<(), LibvirtError> {
    let destination = c_string(destination)?;
    let mut array = Params::default();
    for (name, value) in params {
        array.add(name, value)?;
    }
    let count = array.count as c_uint;
    // SAFETY: all pointers are valid during the call; `array` holds exactly `count` parameters made by libvirt's own functions.
    succeeded(unsafe {
        sys::virDomainMigrateToURI3(domain.as_ptr(), destination.as_ptr(), array.array, count, flags)
    })?;
    Ok(())
}

/// Compares the CPU of an element `<cpu>` with what this host's QEMU has; `VIR_ERR_CPU_INCOMPATIBLE` names what is missing.
pub(super) fn compare_cpu(conn: &Connect, machine: &Machine, element: &str) -> Result<(), LibvirtError> {
    let texts = [&machine.architecture, &machine.kind, &machine.virtualisation];
    let [architecture, kind, virtualisation] = texts.map(|text| c_string(text));
    let (architecture, kind, virtualisation) = (architecture?, kind?, virtualisation?);
    let element = c_string(element)?;
    // SAFETY: all pointers are valid during the call; no emulator is named, which is allowed.
    succeeded(unsafe {
        sys::virConnectCompareHypervisorCPU(
            conn.as_ptr(),
            ptr::null(),
            architecture.as_ptr(),
            kind.as_ptr(),
            virtualisation.as_ptr(),
            element.as_ptr(),
            sys::VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE as c_uint,
        )
    })?;
    Ok(())
}

/// Lets QEMU look for some seconds how fast the guest writes. Returns at once.
pub(super) fn start_dirty_rate(domain: &Domain, seconds: c_int) -> Result<(), LibvirtError> {
    // SAFETY: the pointer is valid while `domain` is borrowed.
    succeeded(unsafe { sys::virDomainStartDirtyRateCalc(domain.as_ptr(), seconds, 0) })?;
    Ok(())
}

/// What came of it, MiB each second; none while it is measured, or if it never was.
pub(super) fn dirty_rate(domain: &Domain) -> Result<Option<u64>, LibvirtError> {
    // SAFETY: the pointer is used while `domain` is borrowed, and not longer.
    let mut domains = [unsafe { domain.as_ptr() }, ptr::null_mut()];
    let mut records = ptr::null_mut();
    let wanted = sys::VIR_DOMAIN_STATS_DIRTYRATE as c_uint;
    // SAFETY: the list of domains ends with null, and libvirt makes the list of records, which is given back below.
    let count =
        succeeded(unsafe { sys::virDomainListGetStats(domains.as_mut_ptr(), wanted, &mut records, 0) })?;
    let params = if count > 0 && !records.is_null() {
        // SAFETY: libvirt made `count` records, the first of which is valid until the list is freed.
        unsafe {
            let record = &**records;
            read_params(record.params, record.nparams)
        }
    } else {
        Vec::new()
    };
    // SAFETY: as libvirt made it; null is allowed.
    unsafe { sys::virDomainStatsRecordListFree(records) };
    Ok(measured_rate(&params))
}

/// An array of typed parameters that libvirt allocated and gets back.
struct Params {
    array: sys::virTypedParameterPtr,
    count: c_int,
    room: c_int,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            array: ptr::null_mut(),
            count: 0,
            room: 0,
        }
    }
}

impl Drop for Params {
    fn drop(&mut self) {
        // SAFETY: array and count are as libvirt left them; null is allowed.
        unsafe { sys::virTypedParamsFree(self.array, self.count) };
    }
}

impl Params {
    fn add(&mut self, name: &CStr, value: &Value) -> Result<(), LibvirtError> {
        let Params { array, count, room } = self;
        let name = name.as_ptr();
        match value {
            Value::Text(text) => {
                let text = c_string(text)?;
                // SAFETY: libvirt grows the array as needed and copies name and value.
                succeeded(unsafe { sys::virTypedParamsAddString(array, count, room, name, text.as_ptr()) })?;
            }
            Value::Unsigned(number) => {
                // SAFETY: libvirt grows the array as needed and copies the name.
                succeeded(unsafe { sys::virTypedParamsAddULLong(array, count, room, name, *number) })?;
            }
            Value::Int(number) => {
                let number = c_int::try_from(*number)
                    .map_err(|_| LibvirtError::ours("a number for libvirt is out of its range"))?;
                // SAFETY: libvirt grows the array as needed and copies the name.
                succeeded(unsafe { sys::virTypedParamsAddInt(array, count, room, name, number) })?;
            }
            Value::Double(_) | Value::Boolean(_) => {
                return Err(LibvirtError::ours("no migration parameter is of this type"));
            }
        }
        Ok(())
    }

    fn read(&self) -> Vec<(String, Value)> {
        // SAFETY: array and count are as libvirt left them.
        unsafe { read_params(self.array, self.count) }
    }
}

/// # Safety
/// `array` is null, or points to `count` parameters as libvirt makes them.
unsafe fn read_params(array: sys::virTypedParameterPtr, count: c_int) -> Vec<(String, Value)> {
    let count = usize::try_from(count).unwrap_or(0);
    if array.is_null() || count == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let params = unsafe { std::slice::from_raw_parts(array, count) };
    // SAFETY: each element's tag says which member of its union is set.
    params
        .iter()
        .filter_map(|param| unsafe { read_param(param) })
        .collect()
}

/// # Safety
/// `param` is as libvirt makes them: a NUL-terminated name, and the union's member that `type_` names.
unsafe fn read_param(param: &sys::virTypedParameter) -> Option<(String, Value)> {
    // SAFETY: the field is a NUL-terminated array inside the parameter.
    let name = unsafe { CStr::from_ptr(param.field.as_ptr()) }
        .to_string_lossy()
        .into_owned();
    let tag = u32::try_from(param.type_).ok()?;
    // SAFETY: the tag says which member of the union is set.
    let value = unsafe {
        match tag {
            sys::VIR_TYPED_PARAM_INT => Value::Int(param.value.i.into()),
            sys::VIR_TYPED_PARAM_UINT => Value::Unsigned(param.value.ui.into()),
            sys::VIR_TYPED_PARAM_LLONG => Value::Int(param.value.l),
            sys::VIR_TYPED_PARAM_ULLONG => Value::Unsigned(param.value.ul),
            sys::VIR_TYPED_PARAM_DOUBLE => Value::Double(param.value.d),
            sys::VIR_TYPED_PARAM_BOOLEAN => Value::Boolean(param.value.b != 0),
            sys::VIR_TYPED_PARAM_STRING => Value::Text(text(param.value.s)),
            _ => return None,
        }
    };
    Some((name, value))
}

/// # Safety
/// `chars` is null or a NUL-terminated text.
unsafe fn text(chars: *const c_char) -> String {
    if chars.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(chars) }.to_string_lossy().into_owned()
}

// ---- events ----

/// Where events go.
pub(super) type Sink = broadcast::Sender<Event>;

/// A connection's event callbacks. Each of them holds a reference to the connection until it is taken away.
pub(super) struct Subscription {
    conn: Connect,
    ids: Vec<c_int>,
}

impl Subscription {
    /// Registers all events that Godwit uses, for all domains.
    pub(super) fn new(conn: &Connect, sink: &Sink) -> Result<Self, LibvirtError> {
        let mut subscription = Subscription {
            conn: conn.clone(),
            ids: Vec::new(),
        };
        for (event, callback) in callbacks() {
            subscription.register(event, callback, sink.clone())?;
        }
        Ok(subscription)
    }

    fn register(&mut self, event: c_uint, callback: Generic, sink: Sink) -> Result<(), LibvirtError> {
        let sink = Arc::into_raw(Arc::new(sink));
        // SAFETY: `callback` is the one for this event (see `callbacks`). The sink lives until libvirt calls
        // `free_sink`, once, after the last callback.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                self.conn.as_ptr(),
                ptr::null_mut(),
                event as c_int,
                Some(callback),
                sink.cast_mut().cast(),
                Some(free_arc::<Sink>),
            )
        };
        match succeeded(id) {
            Ok(id) => self.ids.push(id),
            Err(failed) => {
                // SAFETY: libvirt does not free what it did not take; this is the one from `into_raw`.
                drop(unsafe { Arc::from_raw(sink) });
                return Err(failed);
            }
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for id in &self.ids {
            // On a broken connection this fails at the far end only; the callback and its reference are gone here.
            // SAFETY: the connection is alive (we hold a reference) and the id is its own.
            unsafe { sys::virConnectDomainEventDeregisterAny(self.conn.as_ptr(), *id) };
        }
    }
}

/// The shape under which libvirt takes every event callback. It calls each with the arguments of its event.
type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
type Numbers =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type Number = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, *mut c_void);
type Text = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);
type ParamsOf = unsafe extern "C" fn(
    sys::virConnectPtr,
    sys::virDomainPtr,
    sys::virTypedParameterPtr,
    c_int,
    *mut c_void,
);

/// Each event with the callback of its type.
fn callbacks() -> [(c_uint, Generic); 7] {
    // SAFETY: function pointers of one size. libvirt casts each back to the type of its event before calling it:
    // `virConnectDomainEventCallback`, `…GenericCallback`, `…Device{Added,Removed,RemovalFailed}Callback`,
    // `…MigrationIterationCallback`, `…JobCompletedCallback`.
    unsafe {
        use std::mem::transmute;
        [
            (
                sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                transmute::<Numbers, Generic>(lifecycle),
            ),
            (sys::VIR_DOMAIN_EVENT_ID_REBOOT, rebooted as Generic),
            (
                sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
                transmute::<Text, Generic>(device_added),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                transmute::<Text, Generic>(device_removed),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED,
                transmute::<Text, Generic>(removal_failed),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION,
                transmute::<Number, Generic>(iteration),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
                transmute::<ParamsOf, Generic>(job_completed),
            ),
        ]
    }
}

/// # Safety
/// `domain` is the domain of a callback that is running, `opaque` a `Sink` that libvirt keeps for it.
unsafe fn deliver(domain: sys::virDomainPtr, opaque: *mut c_void, make: impl FnOnce(Uuid) -> Option<Event>) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let mut uuid = [0_u8; 16];
        // SAFETY: reads 16 bytes out of the domain object in hand, without a call to libvirtd.
        if domain.is_null() || unsafe { sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) } < 0 {
            return;
        }
        // SAFETY: `register` made it and libvirt frees it only after the last callback.
        let sink = unsafe { &*opaque.cast::<Sink>() };
        if let Some(event) = make(Uuid::from_bytes(uuid)) {
            // Nobody listening is no failure.
            let _ = sink.send(event);
        }
    }));
}

unsafe extern "C" fn lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt calls with this callback's own domain and opaque; the name is in the domain object.
    unsafe {
        deliver(domain, opaque, |uuid| {
            let name = text(sys::virDomainGetName(domain));
            Some(Event::Lifecycle {
                uuid,
                name,
                change: Lifecycle::from_raw(event, detail),
            })
        });
    }
    0
}

unsafe extern "C" fn rebooted(_: sys::virConnectPtr, domain: sys::virDomainPtr, opaque: *mut c_void) {
    // SAFETY: libvirt calls with this callback's own domain and opaque.
    unsafe { deliver(domain, opaque, |uuid| Some(Event::Rebooted { uuid })) }
}

macro_rules! device_callback {
    ($name:ident, $event:ident) => {
        unsafe extern "C" fn $name(
            _: sys::virConnectPtr,
            domain: sys::virDomainPtr,
            alias: *const c_char,
            opaque: *mut c_void,
        ) {
            // SAFETY: as libvirt calls it: this callback's own domain and opaque, and a text.
            unsafe {
                deliver(domain, opaque, |uuid| {
                    Some(Event::$event {
                        uuid,
                        alias: text(alias),
                    })
                })
            }
        }
    };
}

device_callback!(device_added, DeviceAdded);
device_callback!(device_removed, DeviceRemoved);
device_callback!(removal_failed, DeviceRemovalFailed);

unsafe extern "C" fn iteration(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    iteration: c_int,
    opaque: *mut c_void,
) {
    let iteration = u32::try_from(iteration).unwrap_or(0);
    // SAFETY: libvirt calls with this callback's own domain and opaque.
    unsafe { deliver(domain, opaque, |uuid| Some(Event::Iteration { uuid, iteration })) }
}

unsafe extern "C" fn job_completed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    params: sys::virTypedParameterPtr,
    count: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as libvirt calls it; it owns the parameters, which are only read here.
    unsafe {
        deliver(domain, opaque, |uuid| {
            let stats = Box::new(JobStats::from_event(&read_params(params, count))?);
            Some(Event::JobCompleted { uuid, stats })
        });
    }
}

// ---- a connection's end ----

type OnClose = Box<dyn Fn(c_int) + Send + Sync>;

/// Calls `on_close` with libvirt's reason, once, when the connection breaks. Not for drivers without a daemon.
pub(super) fn watch_close(conn: &Connect, on_close: OnClose) -> Result<(), LibvirtError> {
    let opaque = Arc::into_raw(Arc::new(on_close));
    // SAFETY: the closure lives until libvirt calls `free_arc`, once, after the callback or at unregistration.
    let returned = unsafe {
        sys::virConnectRegisterCloseCallback(
            conn.as_ptr(),
            Some(closed),
            opaque.cast_mut().cast(),
            Some(free_arc::<OnClose>),
        )
    };
    succeeded(returned).map(drop).inspect_err(|_| {
        // SAFETY: libvirt does not free what it did not take; this is the one from `into_raw`.
        drop(unsafe { Arc::from_raw(opaque) });
    })
}

/// Takes the close callback away. One that has fired is gone already, which is fine.
pub(super) fn unwatch_close(conn: &Connect) {
    // SAFETY: the connection is alive; libvirt checks that the callback is the registered one.
    unsafe { sys::virConnectUnregisterCloseCallback(conn.as_ptr(), Some(closed)) };
}

unsafe extern "C" fn closed(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: `watch_close` made it and libvirt frees it only after this call.
    let on_close = unsafe { &*opaque.cast::<OnClose>() };
    let _ = catch_unwind(AssertUnwindSafe(|| on_close(reason)));
}

/// # Safety
/// `opaque` came from `Arc::<T>::into_raw` and is freed this once.
unsafe extern "C" fn free_arc<T>(opaque: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        drop(unsafe { Arc::from_raw(opaque.cast::<T>()) });
    }));
}
