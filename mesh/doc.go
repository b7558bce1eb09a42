// Package mesh is the ground between nodes: who they are, who is let in, and
// how they talk.
//
// Every node has an Ed25519 key and a certificate from the mesh's own
// authority. Everything between nodes is TLS 1.3 with both sides'
// certificates, on one TCP port. A peer is let in when its certificate chains
// to the authority and names this mesh, and when its key is the one pinned for
// its node in the newest topology that the receiver has, where the node is not
// revoked: membership is decided by the signed topology, never by a date or a
// clock. When the topology changes, live connections of nodes that it locks
// out are closed at once.
//
// On the port, ALPN tells three protocols apart:
//
//	h2                RPC: HTTP/2 requests, dispatched by pattern (Mesh.Handle)
//	hallig-stream/1   one raw connection, its handler named by the first frame (Mesh.HandleStream)
//	hallig-join/1     one request to join, the only one without a client certificate (Mesh.HandleJoin)
//
// Every handler is registered with the roles that may call it; nothing is
// allowed that was not registered.
//
// The topology travels as an Envelope that the authority signed. A node takes
// one only if the signature holds and the revision is newer, keeps it on disk,
// and asks and tells its peers, so that a node that withholds, lies or replays
// changes nothing.
//
// A peer is up, slow or down (PeerState). Calls to one that is down fail at
// once with hallig.ErrUnavailable; a dead or hung peer costs at most
// Config.Bound before it is known to be down.
//
// A node that has never met another needs none of this: it has no Mesh until
// it gets an Identity (see CreateIdentity and NewAuthority), and its topology
// has no nodes and no signature. docs/decisions/0011-mesh.md says why things
// are as they are.
package mesh
