//! The limits of the data plane that are not a setting; `[proxy.limits]` of the host config has the others (`wire/limits.rs`).

use std::time::Duration;

/// The head of an answer, with its first line.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Header fields in a head.
pub const HEAD_FIELDS: usize = 100;
/// A chunk-size line with its extension (RFC 9112 §7.1.1 lets us bound it).
pub const CHUNK_LINE_BYTES: usize = 256;
/// All chunk extensions of one body: they are dropped, so a body made of them is an attack.
pub const CHUNK_EXTENSION_BYTES: usize = 16 * 1024;
/// The trailer section of a chunked body.
pub const TRAILER_BYTES: usize = 8 * 1024;
/// Interim answers (1xx) before the final one.
pub const INTERIM_ANSWERS: u32 = 16;

/// A TLS handshake, from the accepted connection to its end, and the preface of HTTP/2 after it. Tests of this room wait less.
pub const HANDSHAKE_TIME: Duration = if cfg!(test) { Duration::from_secs(3) } else { Duration::from_secs(10) };
/// The records up to the end of a ClientHello. With keys against quantum computers it has some 2 KiB; rustls itself takes no more than this.
pub const HELLO_BYTES: usize = 64 * 1024;
/// What most clients need for it.
pub const HELLO_USUAL_BYTES: usize = 2 * 1024;
/// An instance that takes nothing, and a client that does not take a page of ours.
pub const STALL_TIME: Duration = Duration::from_secs(60);
/// From the last byte of the request to the head of the answer. Above the usual long poll (30 to 60 s). Tests of this room wait less.
pub const ANSWER_TIME: Duration = if cfg!(test) { Duration::from_secs(6) } else { Duration::from_secs(120) };
/// What a request takes that nobody has to wait for.
pub const ANSWERED_SOON: Duration = Duration::from_millis(50);
/// One connection to an instance, by the dialer.
pub const DIAL_TIME: Duration = Duration::from_secs(5);
/// All attempts to connect one request, over all its targets.
pub const DIAL_TOTAL: Duration = Duration::from_secs(10);
/// A request that nobody took waits so long for an instance that starts again: init's first pauses and the boot of a common app. Tests of
/// this room, where nothing boots, need not wait so long.
pub const RESTART_HOLD: Duration = if cfg!(test) { Duration::from_millis(2000) } else { Duration::from_secs(5) };
/// Between two tries meanwhile; doubled each time up to the second.
pub const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// Requests that wait like that per target; more are answered at once.
pub const RESTART_HELD: u64 = 512;
/// Targets that one request may try.
pub const DIAL_TARGETS: usize = 3;
/// Dials at the same time per target and worker: a full backlog keeps only its own app's requests waiting.
pub const DIALS_AT_ONCE: usize = 16;

/// Idle connections to an instance are closed before common app servers do it (node 5 s, gunicorn 2 s; a dead one is noticed before use).
pub const POOL_IDLE_TIME: Duration = Duration::from_secs(4);
/// A request that must not be sent twice takes only a connection that idled less than this.
pub const POOL_FRESH_TIME: Duration = Duration::from_secs(1);
/// Idle connections per target and worker.
pub const POOL_IDLE_COUNT: usize = 64;

/// An answer whose body still flows after this is a stream: its drain budget is the longer one.
pub const STREAM_AFTER: Duration = Duration::from_secs(5);
/// After the client ended its side: how long an answer may make no progress before the request is given up.
pub const HALF_CLOSED_TIME: Duration = Duration::from_secs(1);
/// A tunnel of which one side has ended. Tests of this room wait less.
pub const HALF_TUNNEL_TIME: Duration = if cfg!(test) { Duration::from_secs(4) } else { Duration::from_secs(30) };
/// The last part of a budget, over which the ends of streams are spread, is no longer than this.
pub const GOODBYE_SPREAD: Duration = Duration::from_secs(10);
/// The proper end of a tunnel or stream at the end of its budget: to a frame boundary, close frame, the client's reply.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);
/// After an answer that came before the end of the upload: reading on, so that the client sees the answer and no reset.
pub const LINGER_TIME: Duration = Duration::from_secs(5);
/// As long as something comes; a client that sends nothing for so long loses nothing.
pub const LINGER_QUIET_TIME: Duration = Duration::from_secs(2);
/// A connection without a request on it stays open for so long after SIGTERM: one that was just accepted, or is used all the time, has its next
/// request on its way, which is answered with `Connection: close`. Connections that come meanwhile wait in the listening socket.
pub const LAST_CALL: Duration = Duration::from_millis(300);
/// From SIGTERM to the end of the process.
pub const SHUTDOWN_TIME: Duration = Duration::from_secs(10);

/// A process that takes another's place waits so long for a daemon that does not answer.
pub const FOLLOWED_TIME: Duration = Duration::from_secs(2);

/// For the last access lines and counts after that; a daemon that does not read them in time misses them.
pub const LAST_WORDS_TIME: Duration = Duration::from_millis(500);

/// Streams of one HTTP/2 connection at the same time: what browsers expect (RFC 9113 §6.5.2 recommends no less than 100).
pub const H2_STREAMS: u32 = 100;
/// What a client may send ahead on one stream, and on all streams of a connection: what one connection can make us hold.
pub const H2_STREAM_WINDOW: u32 = 256 * 1024;
pub const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Of one stream's answer, what may wait for its connection.
pub const H2_BUFFERED_BYTES: usize = 64 * 1024;
/// Streams of one connection that we reset because the client broke a rule; more are an attack (MadeYouReset).
pub const H2_LOCAL_RESETS: usize = 64;
/// Frames that bring nothing are counted over this time.
pub const H2_WINDOW: Duration = Duration::from_secs(10);
/// Streams that the client resets in that time. A browser that leaves a page drops some dozens at once.
pub const H2_RESETS: u32 = 400;
/// PING, SETTINGS, PRIORITY, unknown and empty DATA frames in that time.
pub const H2_EMPTY_FRAMES: u32 = 2000;
/// WINDOW_UPDATE frames in that time, beside those for what was sent.
pub const H2_WINDOW_UPDATES: u32 = 10_000;
/// A connection without a stream that was told to go: how long the client may take to answer, which is a round trip (RFC 9113 §6.8), before it
/// is cut off with what it has on its way. One that answers is gone with its answer.
pub const H2_GOODBYE_TIME: Duration = Duration::from_secs(5);
/// The same where the process stops: the next one, for which new clients wait, begins after it.
pub const H2_SHORT_GOODBYE_TIME: Duration = Duration::from_secs(1);

/// How much of the next requests is read while one is answered.
pub const READ_AHEAD_BYTES: usize = 16 * 1024;
/// Room for one read.
pub const READ_BYTES: usize = 16 * 1024;
/// Who waits this long for a peer holds no empty buffer any more. A peer that is merely far away brings or takes something meanwhile.
pub const SLIM_AFTER: Duration = Duration::from_millis(50);
/// Empty buffers of that size that a worker keeps at hand.
pub const SPARE_BUFFERS: usize = 32;
/// A head up to this length is copied out of the buffer that it was read into, which is free at once.
pub const HEAD_COPIED_BYTES: usize = 4 * 1024;
/// A small answer of HTTP/2 with its head.
pub const ANSWER_USUAL_BYTES: usize = 2 * 1024;
/// For one of a long body.
pub const MOST_READ_BYTES: usize = 128 * 1024;
/// What the kernel queues for a client beyond what that lets us send; it takes more when half of this has gone. Twice as much made no download
/// faster, and a thousand clients that take nothing had half as much again of the kernel's memory for TCP.
pub const UNSENT_BYTES: u32 = 64 * 1024;
/// The same for an instance: so much that half of it has room for the largest piece of an upload.
pub const UNSENT_TO_INSTANCE_BYTES: u32 = 256 * 1024;
/// Access lines that wait for the daemon; the next ones are counted as lost.
pub const ACCESS_QUEUE: u64 = 16 * 1024;
/// And their bytes: long paths are cut, but add up.
pub const ACCESS_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Between two messages with access lines.
pub const ACCESS_PAUSE: Duration = Duration::from_millis(25);
/// An answer whose first byte took so long has an access line where only what went wrong has one.
pub const ACCESS_SLOW: Duration = Duration::from_secs(1);
/// The path in an access line.
pub const ACCESS_PATH_BYTES: usize = 2 * 1024;
/// Counts of clients turned away are told at most this often; under attack they change all the time.
pub const DROPS_EVERY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };
/// What is measured is sent at most this often.
pub const METRICS_EVERY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(1) };
/// Counts are sent at most this often.
pub const COUNTS_EVERY: Duration = Duration::from_millis(100);
