//! The JavaScript that makes the globals. Compiling it takes several times as long as all the rest
//! of a child's start, so that the engine does it once and hands the bytecode to each child, before
//! the child raises its walls and long before it reads code.

use rquickjs::loader::bundle::{Bundle, ScaBundleData};
use rquickjs::{Context, Ctx, Function, Module, Object, Runtime, WriteOptions};

const NAME: &str = "prelude";

/// One function in several files; see the first.
const SOURCE: &str = concat!(
    "export default ",
    include_str!("prelude/1-core.js"),
    include_str!("prelude/2-console.js"),
    include_str!("prelude/3-timers.js"),
    include_str!("prelude/4-events.js"),
    include_str!("prelude/5-text.js"),
    include_str!("prelude/6-clone.js"),
    include_str!("prelude/7-context.js"),
);

/// The bytecode, for a child of this very program.
pub(in crate::isolate) fn compile() -> Result<Vec<u8>, String> {
    let made = || {
        let runtime = Runtime::new()?;
        Context::full(&runtime)?.with(|ctx| {
            let options = WriteOptions {
                strip_source: true,
                ..WriteOptions::default()
            };
            Module::declare(ctx, NAME, SOURCE)?.write(options)
        })
    };
    made().map_err(|error: rquickjs::Error| format!("the prelude does not compile: {error}"))
}

/// Makes it the one module that can be imported.
pub(super) fn offer(runtime: &Runtime, bytecode: Vec<u8>) {
    // The loader wants it for ever, which is as long as this process lives.
    let modules: ScaBundleData<&'static [u8]> = Box::leak(Box::new([(NAME, &*bytecode.leak())]));
    let bundle = Bundle(modules);
    runtime.set_loader(bundle, bundle);
}

/// The function of the prelude.
pub(super) fn load<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Function<'js>> {
    Module::import(ctx, NAME)?
        .finish::<Object<'js>>()?
        .get("default")
}

/// From here on there is no module to import.
pub(super) fn close(runtime: &Runtime) {
    let none: Bundle<ScaBundleData<&'static [u8]>> = Bundle(&[]);
    runtime.set_loader(none, none);
}
