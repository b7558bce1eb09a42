// Package hallig holds the vocabulary that every other package shares: the
// identities of a mesh and what it stores, the survive policies, and the
// sentinel errors. It imports the standard library only.
//
// The words are used everywhere in one sense:
//
//	mesh ⊃ provider ⊃ site ⊃ node ⊃ drive
//	bucket ⊃ object ⊃ version ⊃ part ⊃ stripe ⊃ shard
package hallig
