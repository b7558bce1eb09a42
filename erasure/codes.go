package erasure

import "sync"

// Codes keeps the codes that were asked for; its zero value is ready and safe
// for concurrent use. A mesh uses a handful.
type Codes struct {
	mu   sync.Mutex
	made map[[2]int]*Code
}

// Get returns the k+m code, made at the first call.
func (c *Codes) Get(k, m int) (*Code, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if code := c.made[[2]int{k, m}]; code != nil {
		return code, nil
	}
	code, err := New(k, m)
	if err != nil {
		return nil, err
	}
	if c.made == nil {
		c.made = map[[2]int]*Code{}
	}
	c.made[[2]int{k, m}] = code
	return code, nil
}
