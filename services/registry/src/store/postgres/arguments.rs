//! Arguments of statements.

/// The arguments of a statement, in its order.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "there may be none")]
        let mut arguments = sqlx::postgres::PgArguments::default();
        $(
            sqlx::Arguments::add(&mut arguments, $value).map_err(domain::Error::internal)?;
        )*
        arguments
    }};
}

pub(super) use arguments;
