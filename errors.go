package hallig

import "errors"

// The sentinel errors. Packages wrap them with what was being done; callers
// test with errors.Is. The S3 door maps them to S3 codes in one table.
var (
	ErrInvalid      = errors.New("invalid")                       // the caller's input is malformed or out of range
	ErrNotFound     = errors.New("not found")                     // no such thing
	ErrExists       = errors.New("already exists")                // it is there, and must not be
	ErrPrecondition = errors.New("precondition failed")           // a stated condition does not hold
	ErrNotModified  = errors.New("not modified")                  // a read condition says: nothing new
	ErrConflict     = errors.New("conflicting operation")         // lost a race; trying again may succeed
	ErrStale        = errors.New("stale epoch")                   // the caller's bucket configuration is outdated
	ErrFenced       = errors.New("session is fenced")             // the writer's session was declared dead
	ErrNotEmpty     = errors.New("not empty")                     // a bucket with versions in it
	ErrDenied       = errors.New("access denied")                 // policy says no
	ErrLockHeld     = errors.New("object is locked")              // retention or legal hold
	ErrKeyLocked    = errors.New("keyring is locked")             // no root key in memory
	ErrKeyUnknown   = errors.New("unknown sealing key")           // no such key in the keyring
	ErrCorrupt      = errors.New("corrupt data")                  // a checksum, MAC or authentication tag is wrong
	ErrLost         = errors.New("too few shards left")           // fewer than k intact shards can be reached
	ErrFull         = errors.New("no space left")                 // a drive, or every drive, takes no more writes
	ErrReadOnly     = errors.New("read-only")                     // a drive or a store that refuses writes
	ErrUnavailable  = errors.New("unavailable")                   // not now: starting, stopping, no leader, drive gone
	ErrForeign      = errors.New("belongs to something else")     // another mesh's or drive's data
	ErrUnsupported  = errors.New("unsupported format or feature") // written by a newer version
	ErrTooLarge     = errors.New("too large")                     // over a stated limit
)
