package s3

// A Route is a row of the routing table, for the attack matrix.
type Route struct {
	Name, Method, Scope, Header string
	Query                       []string
	Anonymous                   bool
}

// Routes returns the routing table.
func Routes() []Route {
	var list []Route
	for _, op := range operations() {
		list = append(list, Route{op.name, op.method, op.scope.String(), op.header, op.query, op.anonymous})
	}
	return list
}

// Unguard takes the permissions out of the routing table, the negative control
// of the tests of authorization.
func (s *Server) Unguard() {
	ops := operations()
	for i := range ops {
		ops[i].action, ops[i].versionAction, ops[i].anonymous = "", "", true
		ops[i].late = false
	}
	s.router = newRouter(ops)
}

// Sabotage makes an operation panic.
func (s *Server) Sabotage(name string) {
	ops := operations()
	for i := range ops {
		if ops[i].name == name {
			ops[i].handle = nil
		}
	}
	s.router = newRouter(ops)
}
