package node

import (
	"slices"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig/admin"
)

// keptEvents is how many events status shows.
const keptEvents = 50

// events remembers the newest things that happened.
type events struct {
	now  func() time.Time
	mu   sync.Mutex
	list []admin.Event // newest last
}

func (e *events) add(level, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, admin.Event{At: e.now().UTC(), Level: level, Text: text})
	if len(e.list) > keptEvents {
		e.list = slices.Delete(e.list, 0, len(e.list)-keptEvents)
	}
}

// newest returns them, newest first.
func (e *events) newest() []admin.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := slices.Clone(e.list)
	slices.Reverse(out)
	return out
}
