package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"syscall"

	"github.com/hallig-cloud/hallig"
)

// ErrStart marks what keeps a node from starting: its message is one sentence
// for the operator that says what is wrong and what to do.
var ErrStart = errors.New("cannot start")

var errClock = errors.New("clock is far off")

// startError is such a sentence, with its cause for errors.Is.
type startError struct {
	says  string
	cause error
}

func (e *startError) Error() string { return "cannot start: " + e.says }

func (e *startError) Unwrap() []error { return []error{ErrStart, e.cause} }

func startf(cause error, format string, args ...any) error {
	return &startError{fmt.Sprintf(format, args...), cause}
}

// startIO turns a failure to read or write under path into a sentence.
func startIO(what, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrStart):
		return err
	case errors.Is(err, fs.ErrPermission) && absentFile(path):
		return startf(err, "no permission to make %s %s: make it for user %s (install -d -o %s %s, as root) or choose another directory", what, path, userName(), userName(), path)
	case errors.Is(err, fs.ErrPermission):
		return startf(err, "no permission to use %s %s: give it to user %s (chown -R %s %s) or choose another directory", what, path, userName(), userName(), path)
	case errors.Is(err, syscall.EROFS):
		return startf(err, "%s %s is on a read-only file system: mount it for writing or choose another directory", what, path)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return startf(err, "the disk of %s %s is full: free some space there (a few hundred MiB at least) and start again", what, path)
	case errors.Is(err, syscall.ENOTDIR):
		return startf(err, "%s %s is not a directory: choose another path", what, path)
	case errors.Is(err, syscall.EIO):
		return startf(err, "the disk of %s %s answers with input/output errors: it is failing; replace it (`hallig drive replace`) or start without it", what, path)
	}
	return startf(err, "%s %s: %v", what, path, err)
}

// said is an error in the operator's words: the cause is for errors.Is.
type said struct {
	says  string
	cause error
}

func (e *said) Error() string { return e.says }
func (e *said) Unwrap() error { return e.cause }

// absent puts what was not found into the operator's words.
func absent(err error, format string, args ...any) error {
	if errors.Is(err, hallig.ErrNotFound) {
		return &said{fmt.Sprintf(format, args...), err}
	}
	return err
}

func absentFile(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}
