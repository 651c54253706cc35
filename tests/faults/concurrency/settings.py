"""The product's settings for the concurrent processes, with a fast password hasher."""

from orgadmin import settings as product

# Every setting of the product; the assignments below replace some of them.
globals().update({name: value for name, value in vars(product).items() if name.isupper()})

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
