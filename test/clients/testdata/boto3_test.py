"""Drives the endpoint in AWS_ENDPOINT_URL with boto3 as applications do."""
import hashlib, io, os
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

s3 = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}, signature_version="s3v4"))


def code(call, **kw):
    try:
        call(**kw)
    except ClientError as e:
        return e.response["Error"]["Code"]
    return None


s3.create_bucket(Bucket="boto")
assert code(s3.head_bucket, Bucket="missing-bucket") == "404"
s3.put_bucket_versioning(Bucket="boto", VersioningConfiguration={"Status": "Enabled"})
v1 = s3.put_object(Bucket="boto", Key="k", Body=b"one", ContentType="text/plain", Metadata={"a": "1"})
v2 = s3.put_object(Bucket="boto", Key="k", Body=b"two", StorageClass="STANDARD")
assert v1["VersionId"] != v2["VersionId"]
assert s3.get_object(Bucket="boto", Key="k", VersionId=v1["VersionId"])["Body"].read() == b"one"
assert s3.get_object(Bucket="boto", Key="k")["Body"].read() == b"two"
marker = s3.delete_object(Bucket="boto", Key="k")
assert marker["DeleteMarker"] is True
assert code(s3.get_object, Bucket="boto", Key="k") == "NoSuchKey"
s3.delete_object(Bucket="boto", Key="k", VersionId=marker["VersionId"])
assert s3.get_object(Bucket="boto", Key="k")["Body"].read() == b"two"

body = hashlib.shake_256(b"hallig").digest(17 * 1024 * 1024 + 3)
s3.upload_fileobj(io.BytesIO(body), "boto", "big", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
back = io.BytesIO()
s3.download_fileobj("boto", "big", back)
assert back.getvalue() == body
r = s3.get_object(Bucket="boto", Key="big", Range="bytes=5242870-5242890")
assert r["Body"].read() == body[5242870:5242891] and r["ResponseMetadata"]["HTTPStatusCode"] == 206
assert code(s3.get_object, Bucket="boto", Key="big", Range="bytes=99999999-") == "InvalidRange"

for algorithm in ("CRC32", "SHA1", "SHA256"):
    s3.put_object(Bucket="boto", Key="sum", Body=body[:70000], ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="boto", Key="sum", ChecksumMode="ENABLED")
    assert got["Checksum" + algorithm] and got["Body"].read() == body[:70000]

key = os.urandom(32)
s3.put_object(Bucket="boto", Key="ssec", Body=b"secret", SSECustomerAlgorithm="AES256", SSECustomerKey=key)
assert s3.get_object(Bucket="boto", Key="ssec", SSECustomerAlgorithm="AES256", SSECustomerKey=key)["Body"].read() == b"secret"
assert code(s3.get_object, Bucket="boto", Key="ssec") == "InvalidRequest"
assert code(s3.get_object, Bucket="boto", Key="ssec", SSECustomerAlgorithm="AES256", SSECustomerKey=os.urandom(32)) == "AccessDenied"

s3.put_object_tagging(Bucket="boto", Key="big", Tagging={"TagSet": [{"Key": "x", "Value": "ü"}]})
assert s3.get_object_tagging(Bucket="boto", Key="big")["TagSet"] == [{"Key": "x", "Value": "ü"}]
s3.put_bucket_lifecycle_configuration(Bucket="boto", LifecycleConfiguration={"Rules": [
    {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}]})
assert s3.get_bucket_lifecycle_configuration(Bucket="boto")["Rules"][0]["ID"] == "old"
s3.put_bucket_cors(Bucket="boto", CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]})
assert s3.get_bucket_cors(Bucket="boto")["CORSRules"][0]["AllowedOrigins"] == ["*"]

post = s3.generate_presigned_post("boto", "posted", Conditions=[["content-length-range", 1, 100]])
import urllib.request, uuid
boundary = uuid.uuid4().hex
form = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in post["fields"].items())
form += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nposted\r\n--{boundary}--\r\n'.encode()
req = urllib.request.Request(post["url"], form, {"Content-Type": "multipart/form-data; boundary=" + boundary})
assert urllib.request.urlopen(req).status == 204
assert s3.get_object(Bucket="boto", Key="posted")["Body"].read() == b"posted"

for page in s3.get_paginator("list_object_versions").paginate(Bucket="boto", MaxKeys=3):
    doomed = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in page.get("Versions", []) + page.get("DeleteMarkers", [])]
    assert not s3.delete_objects(Bucket="boto", Delete={"Objects": doomed}).get("Errors")
s3.delete_bucket(Bucket="boto")

s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
s3.put_object(Bucket="locked", Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")
version = s3.list_object_versions(Bucket="locked")["Versions"][0]["VersionId"]
assert code(s3.delete_object, Bucket="locked", Key="k", VersionId=version) == "AccessDenied"
print("boto3: all passed")
