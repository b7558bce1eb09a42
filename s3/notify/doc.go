// Package notify tells webhooks what happened to a bucket's objects: the
// notification configuration and its filters, Amazon's event message, and
// delivery.
//
// A target is a webhook that an administrator recorded under a name (see
// Webhooks); a bucket's configuration names it as
//
//	arn:hallig:webhook:::NAME
//
// in a TopicConfiguration, QueueConfiguration or CloudFunctionConfiguration,
// which all mean the same here. A client can never give a URL, so that a
// bucket's owner cannot make the server call addresses of their choice.
//
// Delivery is one HTTP POST per event, at least once, in no promised order. An
// event is written to the catalog (sealed and mirrored, as all records are)
// before Publish returns, and so before the request that caused it is answered;
// it is forgotten once its webhook has taken it, or after Config.GiveUp. Failed
// deliveries are tried again with growing pauses, across restarts. What a kill
// of the process can lose is the event of a change whose request had no answer.
//
// Sources: "Event message structure" and "Configuring event notifications
// using object key name filtering", Amazon S3 user guide.
package notify
