package mesh

// Protections that a test switches off, to see that it notices.

func (m *Mesh) SkipPin()       { m.hooks.skipPin = true }
func (m *Mesh) SkipSignature() { m.hooks.skipSignature = true }
func (m *Mesh) SkipClose()     { m.hooks.skipClose = true }
func (m *Mesh) SkipRoles()     { m.hooks.skipRoles = true }
