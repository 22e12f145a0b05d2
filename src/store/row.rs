//! Reading columns into our types; a value that our types refuse is a damaged database, said with the column's name.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::StoreError;
use crate::base::clock::UnixMillis;

pub(super) fn bad(what: &'static str, why: impl Display) -> StoreError {
    StoreError::BadRow { what, why: why.to_string() }
}

pub(super) fn int(row: &SqliteRow, column: &'static str) -> Result<i64, StoreError> {
    Ok(row.try_get(column)?)
}

pub(super) fn flag(row: &SqliteRow, column: &'static str) -> Result<bool, StoreError> {
    Ok(int(row, column)? != 0)
}

pub(super) fn number(row: &SqliteRow, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(int(row, column)?).map_err(|e| bad(column, e))
}

pub(super) fn at(row: &SqliteRow, column: &'static str) -> Result<UnixMillis, StoreError> {
    Ok(UnixMillis(int(row, column)?))
}

/// A text column through a type's own parser.
pub(super) fn text<T, E: Display>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StoreError> {
    let value: String = row.try_get(column)?;
    parse(&value).map_err(|e| bad(column, e))
}

/// The same for a column that may be null.
pub(super) fn maybe<T, E: Display>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, StoreError> {
    let value: Option<String> = row.try_get(column)?;
    value.map(|v| parse(&v)).transpose().map_err(|e| bad(column, e))
}

pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    text(row, column, |v| serde_json::from_str(v))
}

pub(super) fn maybe_json<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<Option<T>, StoreError> {
    maybe(row, column, |v| serde_json::from_str(v))
}

/// For a parser that gives an Option.
pub(super) fn known<T>(value: Option<T>) -> Result<T, &'static str> {
    value.ok_or("unknown word")
}

/// JSON of one of our own types, which cannot fail.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types are plain data with string keys")
}
