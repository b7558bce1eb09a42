package access

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Config configures a Service.
type Config struct {
	Account string           // the account's 12 digits, as in ARNs; default "000000000000"
	Now     func() time.Time // default time.Now
	Log     *slog.Logger     // default discards; never gets a secret
}

// RootUser is the name of the account's own user. It may do everything that no
// bucket policy explicitly denies it.
const RootUser = "root"

// A Service keeps users and keys in the catalog and finds them by access key.
// Changes are durable when a method returns, and hold at once on this node,
// elsewhere as soon as the catalog's change notice arrives. It is safe for
// concurrent use.
type Service struct {
	records catalog.Records
	c       Config
	stop    []func()

	mu         sync.RWMutex
	generation uint64 // raised by every change; nothing read before one is cached after
	keys       map[string]cachedKey
	unknown    map[string]struct{}
	names      map[string]User // by canonical id, for display names
	policies   map[string]storedPolicy
}

type cachedKey struct {
	credential Credential
	expires    time.Time
}

// maxCached bounds each cache.
const maxCached = 4096

// New returns a Service over the catalog's records. Close releases it.
func New(records catalog.Records, c Config) *Service {
	if c.Account == "" {
		c.Account = "000000000000"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{records: records, c: c, policies: make(map[string]storedPolicy)}
	s.forget()
	s.stop = []func(){records.Watch(catalog.KindUser, s.forget), records.Watch(catalog.KindKey, s.forget)}
	return s
}

// Close stops following changes.
func (s *Service) Close() {
	for _, stop := range s.stop {
		stop()
	}
	s.stop = nil
}

// Account returns the account's 12 digits.
func (s *Service) Account() string { return s.c.Account }

// forget empties the caches.
func (s *Service) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.keys = make(map[string]cachedKey)
	s.unknown = make(map[string]struct{})
	s.names = make(map[string]User)
}

// Lookup finds an access key's secret and whom it stands for. A key that does
// not exist, is disabled or has expired, or whose user is, is ErrNotFound.
func (s *Service) Lookup(ctx context.Context, accessKey string) (Credential, error) {
	if !validAccessKey(accessKey) {
		return Credential{}, fmt.Errorf("access key: %w", hallig.ErrNotFound)
	}
	s.mu.RLock()
	k, ok := s.keys[accessKey]
	_, absent := s.unknown[accessKey]
	generation := s.generation
	s.mu.RUnlock()
	if !ok && !absent {
		var err error
		if k, err = s.readKey(ctx, accessKey); err != nil && !isNotFound(err) {
			return Credential{}, err
		}
		absent = err != nil
		s.remember(generation, accessKey, k, absent)
	}
	if absent || !k.expires.IsZero() && !s.c.Now().Before(k.expires) {
		return Credential{}, fmt.Errorf("access key: %w", hallig.ErrNotFound)
	}
	return k.credential, nil
}

// Secret is Lookup for a sigv4.Verifier.
func (s *Service) Secret(ctx context.Context, accessKey string) (string, error) {
	c, err := s.Lookup(ctx, accessKey)
	return c.Secret, err
}

func (s *Service) remember(generation uint64, accessKey string, k cachedKey, absent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation != s.generation {
		return
	}
	if absent {
		if len(s.unknown) >= maxCached {
			clear(s.unknown)
		}
		s.unknown[accessKey] = struct{}{}
		return
	}
	if len(s.keys) >= maxCached {
		clear(s.keys)
	}
	s.keys[accessKey] = k
}

// readKey builds a credential from the catalog.
func (s *Service) readKey(ctx context.Context, accessKey string) (cachedKey, error) {
	var k keyRecord
	if _, err := s.read(ctx, catalog.KindKey, accessKey, &k); err != nil {
		return cachedKey{}, err
	}
	var u userRecord
	if _, err := s.read(ctx, catalog.KindUser, k.User, &u); err != nil {
		return cachedKey{}, err
	}
	if k.Disabled || u.Disabled || u.ID != k.UserID {
		return cachedKey{}, fmt.Errorf("access key is disabled: %w", hallig.ErrNotFound)
	}
	id, err := s.identity(u)
	if err != nil {
		return cachedKey{}, err
	}
	id.AccessKey = accessKey
	if k.Policy != nil {
		if id.KeyPolicy, err = ParseUserPolicy(k.Policy); err != nil {
			return cachedKey{}, fmt.Errorf("policy of access key %s: %w", accessKey, err)
		}
	}
	return cachedKey{credential: Credential{Secret: k.Secret, Identity: id}, expires: k.Expires}, nil
}

// identity resolves a user's policies. One that cannot be read fails the
// whole: it might have held a deny.
func (s *Service) identity(u userRecord) (Identity, error) {
	id := Identity{User: u.ID, Name: u.Name, Account: s.c.Account, Root: u.Root}
	for _, name := range sortedKeys(u.Policies) {
		p, err := ParseUserPolicy(u.Policies[name])
		if err != nil {
			return Identity{}, fmt.Errorf("policy %s of user %s: %w", name, u.Name, err)
		}
		id.Policies = append(id.Policies, p)
	}
	return id, nil
}

// Identity returns a user's identity without a key, as the node itself needs
// it to act for a user. ErrNotFound when there is no such canonical id.
func (s *Service) Identity(ctx context.Context, canonicalID string) (Identity, error) {
	u, err := s.findUser(ctx, func(u userRecord) bool { return u.ID == canonicalID })
	if err != nil {
		return Identity{}, err
	}
	return s.identity(u)
}
