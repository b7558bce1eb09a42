package s3

// bucketOperations are the rows of operations on buckets and their
// configuration.
func bucketOperations() []operation {
	return nil
}
