package s3

// objectOperations are the rows of operations on objects and their lists.
func objectOperations() []operation {
	return nil
}
