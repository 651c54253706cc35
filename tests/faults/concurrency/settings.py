"""The product's settings of the concurrent processes, with cheap passwords."""

from orgadmin import settings as product

# Every setting of the product; what stands below replaces one of them.
globals().update({name: value for name, value in vars(product).items() if name.isupper()})

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
