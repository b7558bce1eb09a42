package admin

import (
	"net/http"
	"net/http/pprof"
)

// none is the answer of what only changes something.
type none struct{}

func done(err error) (none, error) { return none{}, err }

func (s *Server) routes() {
	s.workRoutes()
	s.userRoutes()
	s.storeRoutes()
	s.keyringRoutes()
}

func (s *Server) workRoutes() {
	w := s.cfg.Work
	s.mux.Handle("GET /metrics", s.cfg.Metrics)
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.cfg.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	// Where time and memory go, for `go tool pprof`; never what is in memory.
	s.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	for _, name := range []string{"allocs", "goroutine", "heap"} {
		s.mux.Handle("GET /debug/pprof/"+name, pprof.Handler(name))
	}
	s.mux.HandleFunc("GET /v1/status", handle(func(r *http.Request, _ struct{}) (Status, error) {
		return w.Status(r.Context())
	}))
	s.mux.HandleFunc("POST /v1/scrub", handle(func(r *http.Request, _ struct{}) (Task, error) {
		return w.StartScrub(r.Context())
	}))
	s.mux.HandleFunc("POST /v1/catalog/exports", handle(func(r *http.Request, in Named) (Export, error) {
		return w.Export(r.Context(), in.Name)
	}))
	s.mux.HandleFunc("GET /v1/webhooks", handle(func(r *http.Request, _ struct{}) ([]Webhook, error) {
		return w.Webhooks(r.Context())
	}))
	s.mux.HandleFunc("POST /v1/webhooks", handle(func(r *http.Request, in Webhook) (Webhook, error) {
		return w.AddWebhook(r.Context(), in)
	}))
	s.mux.HandleFunc("DELETE /v1/webhooks/{name}", handle(func(r *http.Request, _ struct{}) (none, error) {
		return done(w.RemoveWebhook(r.Context(), r.PathValue("name")))
	}))
}

func (s *Server) userRoutes() {
	u, k := s.cfg.Users, s.cfg.Keys
	s.mux.HandleFunc("GET /v1/users", handle(func(r *http.Request, _ struct{}) ([]User, error) {
		return u.Users(r.Context())
	}))
	s.mux.HandleFunc("POST /v1/users", handle(func(r *http.Request, in NewUser) (User, error) {
		return u.AddUser(r.Context(), in)
	}))
	s.mux.HandleFunc("GET /v1/users/{name}", handle(func(r *http.Request, _ struct{}) (User, error) {
		return u.User(r.Context(), r.PathValue("name"))
	}))
	s.mux.HandleFunc("DELETE /v1/users/{name}", handle(func(r *http.Request, _ struct{}) (none, error) {
		return done(u.RemoveUser(r.Context(), r.PathValue("name")))
	}))
	s.mux.HandleFunc("GET /v1/users/{name}/policies", handle(func(r *http.Request, _ struct{}) ([]Policy, error) {
		return u.Policies(r.Context(), r.PathValue("name"))
	}))
	s.mux.HandleFunc("PUT /v1/users/{name}/policies/{policy}", handle(func(r *http.Request, in Policy) (none, error) {
		in.Name = r.PathValue("policy")
		return done(u.SetPolicy(r.Context(), r.PathValue("name"), in))
	}))
	s.mux.HandleFunc("DELETE /v1/users/{name}/policies/{policy}", handle(func(r *http.Request, _ struct{}) (none, error) {
		return done(u.RemovePolicy(r.Context(), r.PathValue("name"), r.PathValue("policy")))
	}))
	s.mux.HandleFunc("GET /v1/keys", handle(func(r *http.Request, _ struct{}) ([]Key, error) {
		return k.Keys(r.Context(), r.URL.Query().Get("user"))
	}))
	s.mux.HandleFunc("POST /v1/keys", handle(func(r *http.Request, in NewKey) (Key, error) {
		return k.CreateKey(r.Context(), in)
	}))
	s.mux.HandleFunc("PUT /v1/keys/{key}", handle(func(r *http.Request, in Enabled) (none, error) {
		return done(k.EnableKey(r.Context(), r.PathValue("key"), in.Enabled))
	}))
	s.mux.HandleFunc("DELETE /v1/keys/{key}", handle(func(r *http.Request, _ struct{}) (none, error) {
		return done(k.DeleteKey(r.Context(), r.PathValue("key")))
	}))
	s.mux.HandleFunc("PUT /v1/keys/{key}/policy", handle(func(r *http.Request, in Narrowing) (none, error) {
		return done(k.NarrowKey(r.Context(), r.PathValue("key"), in))
	}))
	s.mux.HandleFunc("POST /v1/keys/{key}/rotate", handle(func(r *http.Request, in Succession) (Key, error) {
		return k.RotateKey(r.Context(), r.PathValue("key"), in)
	}))
}

func (s *Server) storeRoutes() {
	b, d := s.cfg.Buckets, s.cfg.Drives
	s.mux.HandleFunc("GET /v1/buckets", handle(func(r *http.Request, _ struct{}) ([]Bucket, error) {
		return b.Buckets(r.Context())
	}))
	s.mux.HandleFunc("POST /v1/buckets", handle(func(r *http.Request, in NewBucket) (Bucket, error) {
		return b.CreateBucket(r.Context(), in)
	}))
	s.mux.HandleFunc("GET /v1/buckets/{name}", handle(func(r *http.Request, _ struct{}) (Bucket, error) {
		return b.Bucket(r.Context(), r.PathValue("name"))
	}))
	s.mux.HandleFunc("DELETE /v1/buckets/{name}", handle(func(r *http.Request, _ struct{}) (none, error) {
		return done(b.RemoveBucket(r.Context(), r.PathValue("name")))
	}))
	s.mux.HandleFunc("PUT /v1/buckets/{name}/survive", handle(func(r *http.Request, in Survives) (Bucket, error) {
		return b.SetSurvive(r.Context(), r.PathValue("name"), in.Survive)
	}))
	s.mux.HandleFunc("GET /v1/drives", handle(func(r *http.Request, _ struct{}) ([]Drive, error) {
		return d.Drives(r.Context())
	}))
	s.mux.HandleFunc("POST /v1/drives", handle(func(r *http.Request, in NewDrive) (Drive, error) {
		return d.AddDrive(r.Context(), in.Path)
	}))
	s.mux.HandleFunc("POST /v1/drives/replace", handle(func(r *http.Request, in NewDrive) (Drive, error) {
		return d.ReplaceDrive(r.Context(), r.URL.Query().Get("drive"), in.Path)
	}))
	s.mux.HandleFunc("POST /v1/drives/remove", handle(func(r *http.Request, _ struct{}) (Drive, error) {
		return d.RemoveDrive(r.Context(), r.URL.Query().Get("drive"))
	}))
}

func (s *Server) keyringRoutes() {
	k := s.cfg.Sealing
	s.mux.HandleFunc("GET /v1/keyring", handle(func(r *http.Request, _ struct{}) (Keyring, error) {
		return k.Keyring(r.Context())
	}))
	s.mux.HandleFunc("POST /v1/keyring/protect", handle(func(r *http.Request, in Passphrase) (none, error) {
		return done(k.Protect(r.Context(), in))
	}))
	s.mux.HandleFunc("POST /v1/keyring/unlock", handle(func(r *http.Request, in Passphrase) (none, error) {
		return done(k.Unlock(r.Context(), in))
	}))
	s.mux.HandleFunc("POST /v1/keyring/rotate", handle(func(r *http.Request, in Rotation) (none, error) {
		return done(k.Rotate(r.Context(), in))
	}))
	s.mux.HandleFunc("POST /v1/keyring/shares", handle(func(r *http.Request, in SharesWanted) (Shares, error) {
		return k.Shares(r.Context(), in)
	}))
	s.mux.HandleFunc("POST /v1/keyring/recover", handle(func(r *http.Request, in Shares) (none, error) {
		return done(k.Recover(r.Context(), in))
	}))
	s.mux.HandleFunc("POST /v1/keyring/keys", handle(func(r *http.Request, in Named) (EncryptorKey, error) {
		return k.CreateEncryptorKey(r.Context(), in.Name)
	}))
}
