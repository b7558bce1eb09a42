package subresource

import "strconv"

// Limits of a default retention.
const (
	maxRetentionDays  = 36500
	maxRetentionYears = 100
)

// ObjectLock is the document of PutObjectLockConfiguration.
type ObjectLock struct {
	Enabled string    `xml:"ObjectLockEnabled,omitempty"`
	Rule    *LockRule `xml:"Rule"`
}

// A LockRule holds the default retention.
type LockRule struct {
	Default *DefaultRetention `xml:"DefaultRetention"`
}

// DefaultRetention is what new versions are retained for; exactly one of Days
// and Years is set.
type DefaultRetention struct {
	Mode  string `xml:"Mode,omitempty"` // GOVERNANCE or COMPLIANCE
	Days  *int   `xml:"Days"`
	Years *int   `xml:"Years"`
}

// ParseObjectLock reads an object-lock configuration.
func ParseObjectLock(data []byte) (ObjectLock, error) {
	var l ObjectLock
	if err := Unmarshal(data, "ObjectLockConfiguration", &l); err != nil {
		return ObjectLock{}, err
	}
	if l.Enabled != "Enabled" {
		return ObjectLock{}, Malformed()
	}
	if l.Rule == nil {
		return l, nil
	}
	d := l.Rule.Default
	if d == nil || d.Mode != "GOVERNANCE" && d.Mode != "COMPLIANCE" || (d.Days == nil) == (d.Years == nil) {
		return ObjectLock{}, Malformed()
	}
	if err := checkPeriod(d.Days, "Days", maxRetentionDays); err != nil {
		return ObjectLock{}, err
	}
	if err := checkPeriod(d.Years, "Years", maxRetentionYears); err != nil {
		return ObjectLock{}, err
	}
	return l, nil
}

func checkPeriod(n *int, name string, most int) error {
	switch {
	case n == nil:
		return nil
	case *n <= 0:
		return BadArgument("Default retention period must be a positive integer value.", name, strconv.Itoa(*n))
	case *n > most:
		return BadArgument("Default retention period too large.", name, strconv.Itoa(*n))
	}
	return nil
}
