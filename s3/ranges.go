package s3

import (
	"math"
	"strconv"
	"strings"
)

// A span is a run of an object's bytes.
type span struct{ first, length int64 }

// last returns the offset of the last byte; first-1 if the span is empty.
func (r span) last() int64 { return r.first + r.length - 1 }

// parseRange reads a Range header for an object of the given size. ok is false
// when the header is absent, malformed, in another unit or names several
// ranges: S3 then answers with the whole object. A range behind the end is
// InvalidRange (416).
func parseRange(header string, size int64) (r span, ok bool, err error) {
	spec, isBytes := strings.CutPrefix(header, "bytes=")
	first, last, isRange := strings.Cut(spec, "-")
	if !isBytes || !isRange {
		return span{}, false, nil
	}
	if first == "" {
		n, valid := parseOffset(last)
		if !valid {
			return span{}, false, nil
		}
		if n == 0 {
			return span{}, false, invalidRange(header, size)
		}
		if size == 0 {
			return span{}, false, nil
		}
		n = min(n, size)
		return span{size - n, n}, true, nil
	}
	from, valid := parseOffset(first)
	if !valid {
		return span{}, false, nil
	}
	to := int64(math.MaxInt64)
	if last != "" {
		if to, valid = parseOffset(last); !valid || to < from {
			return span{}, false, nil
		}
	}
	if from >= size {
		return span{}, false, invalidRange(header, size)
	}
	to = min(to, size-1)
	return span{from, to - from + 1}, true, nil
}

func invalidRange(header string, size int64) error {
	return fail("InvalidRange").With("RangeRequested", header).With("ActualObjectSize", itoa(size))
}

// parseOffset reads decimal digits; what does not fit stands for "very far".
func parseOffset(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}

const copyRangeForm = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"

// parseCopyRange reads x-amz-copy-source-range for a source of the given size.
// Unlike a Range it must be well-formed, closed and within the source.
func parseCopyRange(header string, size int64) (span, error) {
	malformed := invalidArgument("x-amz-copy-source-range", header, copyRangeForm)
	spec, isBytes := strings.CutPrefix(header, "bytes=")
	first, last, isRange := strings.Cut(spec, "-")
	if !isBytes || !isRange {
		return span{}, malformed
	}
	from, ok1 := parseOffset(first)
	to, ok2 := parseOffset(last)
	if !ok1 || !ok2 || to < from {
		return span{}, malformed
	}
	if to >= size {
		return span{}, invalidArgument("x-amz-copy-source-range", header,
			"Range specified is not valid for source object of size: "+itoa(size))
	}
	return span{from, to - from + 1}, nil
}
